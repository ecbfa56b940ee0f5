import { hash } from 'node:crypto'
import type { Redis, RedisArgument, RedisReply } from './redis-connection.ts'

/** A Lua script over one key, which Redis carries out as one step. */
export type RedisScript = (
  redis: Redis,
  key: string,
  args: readonly RedisArgument[],
  signal: AbortSignal,
) => Promise<RedisReply>

/** Sent by its hash; in full only to a Redis that does not know it (yet, or any more) and so has carried nothing out. */
export function redisScript(lua: string): RedisScript {
  const sha = hash('sha1', lua)
  return async (redis, key, args, signal) => {
    try {
      return await redis.send(['EVALSHA', sha, '1', key, ...args], signal)
    } catch (error) {
      if ((error as { readonly code?: unknown } | undefined)?.code !== 'NOSCRIPT') throw error
      return redis.send(['EVAL', lua, '1', key, ...args], signal)
    }
  }
}
