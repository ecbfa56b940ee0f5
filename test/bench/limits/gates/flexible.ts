import type { BudgetLimit, RateLimit, Redis } from '@tollgate/middleware'
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible'
import type { Gate } from './gate.ts'

/** `rate-limiter-flexible`, a counter for each window: over Redis, or in each process for itself. */
export function flexible(redis: Redis | undefined): Gate {
  const limiters = new Map<string, RateLimiterMemory | RateLimiterRedis>()

  function limiterOf(limit: RateLimit): RateLimiterMemory | RateLimiterRedis {
    const known = limiters.get(limit.key)
    if (known !== undefined) return known
    const options = { keyPrefix: limit.key, points: limit.quota, duration: limit.periodMs / 1000 }
    const made =
      redis === undefined
        ? new RateLimiterMemory(options)
        : new RateLimiterRedis({ ...options, storeClient: commander(redis), useRedisPackage: true })
    limiters.set(limit.key, made)
    return made
  }

  return {
    async admit(subject, limit: RateLimit | BudgetLimit) {
      if (limit.kind !== 'rate') throw new TypeError('It is measured by rates alone')
      try {
        await limiterOf(limit).consume(subject)
        return { admitted: true }
      } catch (refusal) {
        if (!(refusal instanceof RateLimiterRes)) throw refusal
        return { admitted: false, retryAfterMs: refusal.msBeforeNext }
      }
    },
    held: () => 0,
  }
}

interface Script {
  readonly keys: readonly string[]
  readonly arguments: readonly string[]
}

/** As much of node-redis's interface as it uses, over the connection that our own store has. */
function commander(redis: Redis): { eval(script: string, script_: Script): Promise<unknown> } {
  const { signal } = new AbortController()
  return {
    eval: (lua, { keys, arguments: args }) => redis.send(['EVAL', lua, String(keys.length), ...keys, ...args], signal),
  }
}
