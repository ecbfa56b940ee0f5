import type { TableClient, TableEntity } from '@azure/data-tables'
import { type OpenTable, readEntity, statusOf, writeEntity } from '../../storage/index.ts'
import type { Consumer, KeyRecord } from '../consumer.ts'
import type { ConsumerStore } from '../store.ts'

const CONSUMER_ROW = 'consumer'
const KEY_ROW = 'key'

interface KeyEntity {
  consumer: string
  digest: string
  disabled: boolean
  createdAt: Date
  expiresAt?: Date
}

interface ConsumerEntity {
  plan: string
  disabled: boolean
}

/** Consumers and keys in Azure Table Storage: a row each, found by one point read. */
export function tableConsumerStore(open: OpenTable): ConsumerStore {
  const consumers = open('tollgateconsumers')
  const keys = open('tollgatekeys')
  return {
    async findKey(publicId, signal) {
      const entity = await readEntity<KeyEntity>(keys, { partition: publicId, row: KEY_ROW }, { signal })
      if (entity === undefined) return undefined
      return {
        publicId,
        consumer: entity.consumer,
        digest: entity.digest,
        disabled: entity.disabled,
        createdAt: new Date(entity.createdAt).getTime(),
        ...(entity.expiresAt === undefined ? {} : { expiresAt: new Date(entity.expiresAt).getTime() }),
      }
    },
    async findConsumer(id, signal) {
      const entity = await readEntity<ConsumerEntity>(consumers, { partition: id, row: CONSUMER_ROW }, { signal })
      return entity && { id, plan: entity.plan, disabled: entity.disabled }
    },
    addConsumer: ({ id, plan, disabled }: Consumer, signal) =>
      insert<ConsumerEntity>(consumers, { partitionKey: id, rowKey: CONSUMER_ROW, plan, disabled }, signal),
    addKey: (key: KeyRecord, signal) =>
      insert<KeyEntity>(
        keys,
        {
          partitionKey: key.publicId,
          rowKey: KEY_ROW,
          consumer: key.consumer,
          digest: key.digest,
          disabled: key.disabled,
          createdAt: new Date(key.createdAt),
          ...(key.expiresAt === undefined ? {} : { expiresAt: new Date(key.expiresAt) }),
        },
        signal,
      ),
  }
}

async function insert<T extends object>(
  table: () => Promise<TableClient>,
  entity: TableEntity<T>,
  signal?: AbortSignal,
): Promise<boolean> {
  try {
    await writeEntity(table, (client) => client.createEntity(entity, signal ? { abortSignal: signal } : {}))
    return true
  } catch (error) {
    if (statusOf(error) === 409) return false
    throw error
  }
}
