import type { TableClient, TableEntity } from '@azure/data-tables'
import { listEntities, type OpenTable, readEntity, statusOf, writeEntity } from '../../storage/index.ts'
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
      return entity && keyOf(publicId, entity)
    },
    async findConsumer(id, signal) {
      const entity = await readEntity<ConsumerEntity>(consumers, { partition: id, row: CONSUMER_ROW }, { signal })
      return entity && consumerOf(id, entity)
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
    updateConsumer: (id, change, signal) =>
      merge(consumers, { partitionKey: id, rowKey: CONSUMER_ROW, ...change }, signal),
    updateKey: (publicId, { expiresAt, ...change }, signal) =>
      merge(
        keys,
        {
          partitionKey: publicId,
          rowKey: KEY_ROW,
          ...change,
          ...(expiresAt === undefined ? {} : { expiresAt: new Date(expiresAt) }),
        },
        signal,
      ),
    removeKey: (publicId, signal) =>
      existing(async () => (await keys()).deleteEntity(publicId, KEY_ROW, signal ? { abortSignal: signal } : {})),
    async *listConsumers(signal) {
      for await (const { partitionKey, ...entity } of listEntities<ConsumerEntity>(consumers, undefined, signal)) {
        yield consumerOf(partitionKey, entity)
      }
    },
    async *listKeys({ consumer }, signal) {
      const filter = consumer === undefined ? undefined : { consumer }
      for await (const { partitionKey, ...entity } of listEntities<KeyEntity>(keys, filter, signal)) {
        yield keyOf(partitionKey, entity)
      }
    },
  }
}

function keyOf(publicId: string, { consumer, digest, disabled, createdAt, expiresAt }: KeyEntity): KeyRecord {
  return {
    publicId,
    consumer,
    digest,
    disabled,
    createdAt: new Date(createdAt).getTime(),
    ...(expiresAt === undefined ? {} : { expiresAt: new Date(expiresAt).getTime() }),
  }
}

function consumerOf(id: string, { plan, disabled }: ConsumerEntity): Consumer {
  return { id, plan, disabled }
}

/** Whatever else has changed meanwhile stays: the service merges the named fields alone, at once. */
function merge(table: () => Promise<TableClient>, entity: TableEntity, signal?: AbortSignal): Promise<boolean> {
  const options = { etag: '*', ...(signal ? { abortSignal: signal } : {}) }
  return existing(async () => (await table()).updateEntity(entity, 'Merge', options))
}

async function existing(change: () => Promise<unknown>): Promise<boolean> {
  try {
    await change()
    return true
  } catch (error) {
    if (statusOf(error) === 404) return false
    throw error
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
