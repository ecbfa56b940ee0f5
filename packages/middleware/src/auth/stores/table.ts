import type * as z from 'zod'
import { StoreUnavailable } from '../../pipeline/index.ts'
import { narrowing } from '../../policy/index.ts'
import type { OpenTable } from '../../storage/index.ts'
import type { Consumer, KeyRecord } from '../consumer.ts'
import { keyGroups } from '../key-groups.ts'
import { DEFAULT_SCOPES, type Scope } from '../scope.ts'
import type { ConsumerStore } from '../store.ts'

const CONSUMER_ROW = 'consumer'
const KEY_ROW = 'key'
const CALL: Scope = 'call'
/** An id begins with a letter or a digit. */
const AFTER_ALL_IDS = '~'

/**
 * A key's digest stands where only versions look that know all that the key is bound by: so to others it is a key that they don't know,
 * and never one that may more.
 */
interface KeyEntity {
  consumer: string
  /** '' of a key whose digest stands in one of the others: versions that know no scopes read this one alone. */
  digest: string
  /** Of a key that may not call. */
  scopedDigest?: string
  /** Of a key with a grant or groups, which versions with scopes alone don't know. */
  grantedDigest?: string
  /** Both as JSON. */
  grant?: string
  groups?: string
  family?: string
  replacedBy?: string
  usedAt?: Date
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
    async addKey(key: KeyRecord, signal) {
      const { publicId, consumer, scopes, disabled, createdAt, expiresAt, grant, groups, family } = key
      const fields = {
        consumer,
        ...digestFields(key),
        scopes: scopes.join(' '),
        disabled,
        createdAt: new Date(createdAt),
        expiresAt: dateOf(expiresAt),
        grant: grant && JSON.stringify(grant),
        groups: groups && JSON.stringify(groups),
        family,
        replacedBy: key.replacedBy,
        usedAt: dateOf(key.usedAt),
      }
      const added = await keys.put({ ...keyPlace(publicId), ...fields }, 'absent', signal)
      return added.etag !== undefined
    },
    updateConsumer: (id, change, signal) => consumers.merge({ ...consumerPlace(id), ...change }, signal),
    updateKey: (publicId, { expiresAt, usedAt, ...change }, signal) =>
      keys.merge({ ...keyPlace(publicId), ...change, expiresAt: dateOf(expiresAt), usedAt: dateOf(usedAt) }, signal),
    async replaceKey(publicId, { replacedBy, expiresAt }, signal) {
      for (let tries = 0; tries < MAX_TRIES; tries += 1) {
        const { entity } = await keys.read<KeyEntity>(keyPlace(publicId), { signal })
        if (entity === undefined) return undefined
        if (entity.replacedBy !== undefined) return keyOf(publicId, entity)
        const { etag, timestamp: _, ...row } = entity
        const ends = Math.min(expiresAt, row.expiresAt?.getTime() ?? expiresAt)
        const replaced = { ...row, replacedBy, expiresAt: new Date(ends) }
        const written = await keys.put(replaced, { etag }, signal)
        if (written.etag !== undefined) return keyOf(publicId, replaced)
      }
      throw new StoreUnavailable(`The key ${publicId} kept changing`)
    },
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
/** A key's row is changed by an operator, or once an hour for its use. */
const MAX_TRIES = 10

const keyPlace = (publicId: string) => ({ partitionKey: publicId, rowKey: KEY_ROW })
const dateOf = (ms: number | undefined) => (ms === undefined ? undefined : new Date(ms))

function keyOf(publicId: string, entity: KeyEntity): KeyRecord {
  const { consumer, scopes, disabled, createdAt, expiresAt, family, replacedBy, usedAt } = entity
  const grant = read(entity.grant, narrowing)
  const groups = read(entity.groups, keyGroups)
  const isRead = grant !== UNREADABLE && groups !== UNREADABLE
  return {
    publicId,
    consumer,
    // Without a digest it is nobody's key: what a later version bound it by can't be told.
    digest: isRead ? digestOf(entity) : '',
    scopes: scopesOf(scopes),
    disabled,
    createdAt: new Date(createdAt).getTime(),
    ...(expiresAt === undefined ? {} : { expiresAt: new Date(expiresAt).getTime() }),
    ...(grant === undefined || grant === UNREADABLE ? {} : { grant }),
    ...(groups === undefined || groups === UNREADABLE ? {} : { groups }),
    ...(family === undefined ? {} : { family }),
    ...(replacedBy === undefined ? {} : { replacedBy }),
    ...(usedAt === undefined ? {} : { usedAt: new Date(usedAt).getTime() }),
  }
}

function digestFields({ digest, scopes, grant, groups }: KeyRecord): Pick<KeyEntity, 'digest'> & Partial<KeyEntity> {
  if (grant !== undefined || groups !== undefined) return { digest: '', grantedDigest: digest }
  return scopes.includes(CALL) ? { digest } : { digest: '', scopedDigest: digest }
}

function digestOf({ digest, scopedDigest, grantedDigest, grant, groups }: KeyEntity): string {
  if (grantedDigest === undefined) return grant === undefined && groups === undefined ? (scopedDigest ?? digest) : ''
  return grant === undefined && groups === undefined ? '' : grantedDigest
}

const UNREADABLE = Symbol('unreadable')

/** What stands in a row as JSON. */
function read<T>(text: unknown, schema: z.ZodType<T>): T | undefined | typeof UNREADABLE {
  if (text === undefined) return undefined
  try {
    return schema.parse(JSON.parse(String(text)))
  } catch {
    return UNREADABLE
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
