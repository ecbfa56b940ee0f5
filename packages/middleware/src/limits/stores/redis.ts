import { randomUUID } from 'node:crypto'
import { type Redis, redisScript } from '../../storage/index.ts'
import { type CounterStore, SHADOW_LIFE_MS, SHADOW_SUBJECTS, type StoreTime } from './counter-store.ts'

/** Milliseconds, rounded down; as a number it fits Redis's integers. */
const TIME = `local time = redis.call('TIME')
local date = time[1] * 1000 + math.floor(time[2] / 1000)`

const READ = redisScript(`${TIME}
local row = redis.call('HMGET', KEYS[1], 'text', 'etag')
return {date, row[1], row[2]}`)

/** ARGV: the ETag that is expected ('' for no row), the new one, the text, and for how long it is kept (0 for ever; milliseconds). */
const WRITE_IF_MATCH = redisScript(`${TIME}
if (redis.call('HGET', KEYS[1], 'etag') or '') ~= ARGV[1] then return {date, 0} end
redis.call('HSET', KEYS[1], 'etag', ARGV[2], 'text', ARGV[3])
if ARGV[4] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return {date, 1}`)

export interface RedisCounterOptions {
  readonly redis: Redis
  /** Milliseconds on a monotonic clock. */
  readonly now: () => number
  /** What every key begins with. */
  readonly prefix?: string
}

/**
 * Counters in Redis: a hash a subject. None but a shadow's expires, because a counter that is gone is a limit that begins anew; let
 * Redis evict none either (`noeviction`, or one of the `volatile-…` policies).
 */
export function redisCounterStore({ redis, now, prefix = 'tollgate:counters:' }: RedisCounterOptions): CounterStore {
  // In braces, so that whatever belongs to one subject lies in one slot of a cluster.
  const keyOf = (subject: string) => `${prefix}{${subject}}`

  const timeOf = (date: number, sent: number): StoreTime => ({ date, resolutionMs: 1, sent, received: now() })

  return {
    async read(subject, signal) {
      const sent = now()
      const reply = await READ(redis, keyOf(subject), [], signal)
      const [date, text, etag] = reply as [number, Buffer | null, Buffer | null]
      const row = text === null || etag === null ? undefined : { text: text.toString(), etag: etag.toString() }
      return { row, time: timeOf(date, sent) }
    },

    async writeIfMatch(subject, text, etag, signal) {
      const sent = now()
      // Never used before, so that a row which was removed and made anew has none of its old ETags.
      const next = randomUUID()
      const reply = await WRITE_IF_MATCH(redis, keyOf(subject), [etag ?? '', next, text, lifeOf(subject)], signal)
      const [date, written] = reply as [number, number]
      return { etag: written === 1 ? next : undefined, time: timeOf(date, sent) }
    },
  }
}

function lifeOf(subject: string): string {
  return subject.startsWith(SHADOW_SUBJECTS) ? String(SHADOW_LIFE_MS) : '0'
}
