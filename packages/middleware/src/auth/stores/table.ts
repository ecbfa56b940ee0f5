import type { OpenTable } from '../../storage/index.ts'
import type { Consumer, KeyRecord } from '../consumer.ts'
import { DEFAULT_SCOPES, type Scope } from '../scope.ts'
import type { ConsumerStore } from '../store.ts'

const CONSUMER_ROW = 'consumer'
const KEY_ROW = 'key'
const CALL: Scope = 'call'
/** An id begins with a letter or a digit. */
const AFTER_ALL_IDS = '~'

interface KeyEntity {
  consumer: string
  /** '' of a key that may not call, whose digest stands in the other field: versions that know no scopes read this one alone. */
  digest: string
  scopedDigest?: string
  /** Words with a space between them; not there in rows of versions that know no scopes. */
  scopes?: string
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
    async addKey({ publicId, consumer, digest, scopes, disabled, createdAt, expiresAt }: KeyRecord, signal) {
      const fields = {
        consumer,
        ...(scopes.includes(CALL) ? { digest } : { digest: '', scopedDigest: digest }),
        scopes: scopes.join(' '),
        disabled,
        createdAt: new Date(createdAt),
        expiresAt: dateOf(expiresAt),
      }
      const added = await keys.put({ ...keyPlace(publicId), ...fields }, 'absent', signal)
      return added.etag !== undefined
    },
    updateConsumer: (id, change, signal) => consumers.merge({ ...consumerPlace(id), ...change }, signal),
    updateKey: (publicId, { expiresAt, ...change }, signal) =>
      keys.merge({ ...keyPlace(publicId), ...change, expiresAt: dateOf(expiresAt) }, signal),
    removeKey: (publicId, signal) => keys.remove(keyPlace(publicId), 'any', signal),
    async *listConsumers(signal, after = '') {
      const partition = { from: after, before: AFTER_ALL_IDS }
      for await (const { partitionKey, ...entity } of consumers.scan<ConsumerEntity>({ partition }, signal)) {
        if (partitionKey !== after) yield consumerOf(partitionKey, entity)
      }
    },
    async *listKeys({ consumer }, signal) {
      const where = consumer === undefined ? {} : { consumer }
      for await (const { partitionKey, ...entity } of keys.list<KeyEntity>(where, signal)) {
        // One row that no version writes must not keep all others from being listed.
        yield keyOf(partitionKey, { ...entity, consumer: String(entity.consumer) })
      }
    },
  }
}

const consumerPlace = (id: string) => ({ partitionKey: id, rowKey: CONSUMER_ROW })
const keyPlace = (publicId: string) => ({ partitionKey: publicId, rowKey: KEY_ROW })
const dateOf = (ms: number | undefined) => (ms === undefined ? undefined : new Date(ms))

function keyOf(publicId: string, entity: KeyEntity): KeyRecord {
  const { consumer, digest, scopedDigest, scopes, disabled, createdAt, expiresAt } = entity
  return {
    publicId,
    consumer,
    digest: scopedDigest ?? digest,
    scopes: scopesOf(scopes),
    disabled,
    createdAt: new Date(createdAt).getTime(),
    ...(expiresAt === undefined ? {} : { expiresAt: new Date(expiresAt).getTime() }),
  }
}

/** What no version writes lets its key nowhere in, and keeps no other key from being listed. */
function scopesOf(words: KeyEntity['scopes']): readonly string[] {
  if (words === undefined) return DEFAULT_SCOPES
  return typeof words === 'string' ? words.split(' ').filter((word) => word !== '') : []
}

function consumerOf(id: string, { plan, disabled }: ConsumerEntity): Consumer {
  return { id, plan, disabled }
}
