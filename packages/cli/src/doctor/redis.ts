import { openRedis, type Redis } from '@tollgate/middleware'
import { codeOf, fault, ok, type Seen, warn } from './finding.ts'

/* The Redis that keeps counters and completions, where there is one. */

const SLOW_MS = 20

/** @param url as the settings have it, checked */
export async function redisSeen(url: string, signal: AbortSignal): Promise<readonly Seen[]> {
  const { protocol, host } = new URL(url)
  const redis = openRedis(url)
  try {
    // The first one opens the connection.
    await redis.send(['PING'], signal)
    const began = performance.now()
    await redis.send(['PING'], signal)
    const ms = performance.now() - began
    const tls = protocol === 'rediss:' ? 'TLS' : 'no TLS, on this machine'
    const answers = `${host} answers in ${ms.toFixed(1)} ms (${tls})`
    return [
      ms > SLOW_MS
        ? warn(`${answers}: each limit that needs the store waits for it`, 'Put it into the region of the app.')
        : ok(answers),
      await evictionSeen(redis, signal),
    ]
  } catch (error) {
    const code = codeOf(error)
    return [
      fault(
        `${host} can't be used: ${code}`,
        FIXES[code] ?? 'See that it runs, and that the network lets this machine reach it.',
      ),
    ]
  } finally {
    redis.close()
  }
}

const FIXES: Readonly<Record<string, string>> = {
  WRONGPASS: 'Set TOLLGATE_REDIS with the right user and password, URL-encoded.',
  NOAUTH: 'Set TOLLGATE_REDIS with the password: rediss://:<password>@host:port',
  NOPERM: 'Give its user the commands GET, SET, HGET, HSET, HMGET, EVAL, EVALSHA, TIME and PING.',
  ENOTFOUND: 'No such host: correct it in TOLLGATE_REDIS.',
}

/** A counter that Redis throws away is a limit that begins anew. */
async function evictionSeen(redis: Redis, signal: AbortSignal): Promise<Seen> {
  let info: string
  try {
    // `CONFIG GET` is not allowed by most who run Redis for others; this is.
    info = String(await redis.send(['INFO', 'memory'], signal))
  } catch (error) {
    return warn(`maxmemory-policy is not told (${codeOf(error)})`, 'See that it is noeviction or volatile-lru.')
  }
  const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1]
  if (policy === undefined) return warn('maxmemory-policy is not told', 'See that it is noeviction or volatile-lru.')
  if (!policy.startsWith('allkeys')) return ok(`maxmemory-policy ${policy}: counters are kept`)
  return fault(
    `maxmemory-policy ${policy}: Redis may throw counters away, and their limits begin anew`,
    'redis-cli config set maxmemory-policy volatile-lru (or noeviction); in Azure under Advanced settings.',
  )
}
