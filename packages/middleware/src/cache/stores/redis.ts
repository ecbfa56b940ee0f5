import { randomUUID } from 'node:crypto'
import { isOutage } from '../../pipeline/index.ts'
import { type Redis, redisScript } from '../../storage/index.ts'
import type { CacheEntry } from '../entry.ts'
import type { CacheStore, Claim, ClaimOutcome } from '../store.ts'
import { afterwards } from './afterwards.ts'
import { pack, unpack } from './packing.ts'

/** What a value begins with: `e` for an entry, `c` for a claim; then a UUID that no other value has. */
const HEAD_BYTES = 37

/** ARGV: the value, its time to live in milliseconds. Answers what stands there, and only where nothing does, sets it. */
const SET_IF_NONE = redisScript(`local value = redis.call('GET', KEYS[1])
if value then return value end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false`)

/** ARGV: the head of the value that is expected, the new value, its time to live in milliseconds. */
const REPLACE = redisScript(`if redis.call('GETRANGE', KEYS[1], 0, ${HEAD_BYTES - 1}) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`)

/** ARGV: the head of the value that is expected. */
const REMOVE = redisScript(`if redis.call('GETRANGE', KEYS[1], 0, ${HEAD_BYTES - 1}) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`)

export interface RedisCacheOptions {
  readonly redis: Redis
  /** What every key begins with. */
  readonly prefix?: string
  /** Milliseconds since 1970. */
  readonly wallClock: () => number
}

/** Completions in Redis: a string a key, which expires by itself. Redis may evict them as it likes. */
export function redisCacheStore({ redis, prefix = 'tollgate:cache:', wallClock }: RedisCacheOptions): CacheStore {
  // In braces, so that whatever belongs to one key lies in one slot of a cluster.
  const keyOf = (key: string) => `${prefix}{${key}}`
  /** Redis refuses 0: what has expired already is gone within the millisecond. */
  const lifeOf = (expiresAt: number) => String(Math.max(1, Math.ceil(expiresAt - wallClock())))

  async function removeDamaged(key: string, value: Buffer, signal: AbortSignal): Promise<void> {
    // Whether Redis can do it or not, the value is of no use.
    await REMOVE(redis, keyOf(key), [value.subarray(0, HEAD_BYTES)], signal).catch((error) => {
      if (!isOutage(error)) throw error
    })
  }

  function hold(key: string, head: string): Claim {
    const replace = async (value: Buffer, expiresAt: number, signal: AbortSignal) =>
      (await REPLACE(redis, keyOf(key), [head, value, lifeOf(expiresAt)], signal)) === 1
    return {
      async store(entry, signal) {
        const value = await entryValue(entry)
        return value !== undefined && replace(value, entry.expiresAt, signal)
      },
      renew: (expiresAt, signal) => replace(claimValue(head, expiresAt), expiresAt, signal),
      async release(signal) {
        await REMOVE(redis, keyOf(key), [head], signal)
      },
    }
  }

  return {
    async get(key, signal) {
      const value = (await redis.send(['GET', keyOf(key)], signal)) as Buffer | null
      if (value === null) return undefined
      const found = await parse(value)
      if (found.kind === 'damaged') await removeDamaged(key, value, signal)
      if (found.kind === 'claim') return 'claimed'
      return found.kind === 'entry' ? found.entry : undefined
    },

    async set(key, entry, signal) {
      const value = await entryValue(entry)
      if (value === undefined) return false
      await redis.send(['SET', keyOf(key), value, 'PX', lifeOf(entry.expiresAt)], signal)
      return true
    },

    async claim(key, { now, expiresAt }, signal): Promise<ClaimOutcome> {
      const head = `c${randomUUID()}`
      const value = claimValue(head, expiresAt)
      const claimed: ClaimOutcome = { kind: 'claimed', claim: hold(key, head) }
      const disown = (error: unknown) => {
        afterwards((late) => REMOVE(redis, keyOf(key), [head], late))
        throw error
      }
      const set = SET_IF_NONE(redis, keyOf(key), [value, lifeOf(expiresAt)], signal)
      const reply = (await set.catch(disown)) as Buffer | null
      if (reply === null) return claimed

      const found = await parse(reply)
      if (found.kind === 'entry' && now < found.entry.expiresAt) return { kind: 'found', entry: found.entry }
      if (found.kind === 'claim' && now < found.expiresAt) return { kind: 'held' }
      const before = reply.subarray(0, HEAD_BYTES)
      const taken = await REPLACE(redis, keyOf(key), [before, value, lifeOf(expiresAt)], signal).catch(disown)
      return taken === 1 ? claimed : { kind: 'held' }
    },
  }
}

type Found =
  | { readonly kind: 'entry'; readonly entry: CacheEntry }
  | { readonly kind: 'claim'; readonly expiresAt: number }
  | { readonly kind: 'damaged' }

async function parse(value: Buffer): Promise<Found> {
  const kind = value.toString('latin1', 0, 1)
  const rest = value.subarray(HEAD_BYTES)
  if (kind === 'c') {
    const expiresAt = Number(rest.toString('latin1'))
    return rest.length > 0 && Number.isFinite(expiresAt) ? { kind: 'claim', expiresAt } : { kind: 'damaged' }
  }
  const entry = kind === 'e' ? await unpack(rest) : undefined
  return entry === undefined ? { kind: 'damaged' } : { kind: 'entry', entry }
}

async function entryValue(entry: CacheEntry): Promise<Buffer | undefined> {
  const packed = await pack(entry)
  return packed && Buffer.concat([Buffer.from(`e${randomUUID()}`), packed])
}

/** A renewed claim keeps its head, so that a renewal without an answer leaves no doubt who holds the key. */
function claimValue(head: string, expiresAt: number): Buffer {
  return Buffer.from(`${head}${expiresAt}`)
}
