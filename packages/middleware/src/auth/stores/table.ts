import type { OpenTable } from '../../storage/index.ts'
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
      const { entity } = await keys.read<KeyEntity>(keyPlace(publicId), { signal })
      return entity && keyOf(publicId, entity)
    },
    async findConsumer(id, signal) {
      const { entity } = await consumers.read<ConsumerEntity>(consumerPlace(id), { signal })
      return entity && consumerOf(id, entity)
    },
    async addConsumer({ id, plan, disabled }: Consumer, signal) {
      const added = await consumers.put({ ...consumerPlace(id), plan, disabled }, 'absent', signal)
      return added.etag !== undefined
    },
    async addKey({ publicId, consumer, digest, disabled, createdAt, expiresAt }: KeyRecord, signal) {
      const fields = { consumer, digest, disabled, createdAt: new Date(createdAt), expiresAt: dateOf(expiresAt) }
      const added = await keys.put({ ...keyPlace(publicId), ...fields }, 'absent', signal)
      return added.etag !== undefined
    },
    updateConsumer: (id, change, signal) => consumers.merge({ ...consumerPlace(id), ...change }, signal),
    updateKey: (publicId, { expiresAt, ...change }, signal) =>
      keys.merge({ ...keyPlace(publicId), ...change, expiresAt: dateOf(expiresAt) }, signal),
    removeKey: (publicId, signal) => keys.remove(keyPlace(publicId), 'any', signal),
    async *listConsumers(signal) {
      for await (const { partitionKey, ...entity } of consumers.list<ConsumerEntity>({}, signal)) {
        yield consumerOf(partitionKey, entity)
      }
    },
    async *listKeys({ consumer }, signal) {
      const where = consumer === undefined ? {} : { consumer }
      for await (const { partitionKey, ...entity } of keys.list<KeyEntity>(where, signal)) {
        yield keyOf(partitionKey, entity)
      }
    },
  }
}

const consumerPlace = (id: string) => ({ partitionKey: id, rowKey: CONSUMER_ROW })
const keyPlace = (publicId: string) => ({ partitionKey: publicId, rowKey: KEY_ROW })
const dateOf = (ms: number | undefined) => (ms === undefined ? undefined : new Date(ms))

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
