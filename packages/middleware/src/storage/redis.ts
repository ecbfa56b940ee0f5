import { systemTime, type Time, untilAborted } from '../pipeline/index.ts'
import { connectRedis, type Redis } from './redis-connection.ts'

/** So long at least between two beginnings of a connection, in milliseconds: a Redis that is down is not stormed. */
const PAUSE_MS = 200

interface Attempt {
  readonly began: number
  readonly opening: Promise<Redis>
  ended: boolean
}

/**
 * One Redis, by one connection for all. The client (about 0.05 s to load) is loaded, and the connection opened, by the
 * first command; one that failed or broke is replaced by the next. No command is ever sent twice, and none waits for a
 * connection to come back: a counter that is written late or again would count what nobody asked for.
 *
 * @param url `redis://` or, with TLS, `rediss://`; `[[user]:password@]host[:port][/database]`
 * @throws TypeError for another URL, without repeating it.
 */
export function openRedis(url: string, time: Pick<Time, 'now' | 'after'> = systemTime): Redis {
  if (!/^rediss?:$/.test(URL.parse(url)?.protocol ?? '')) throw new TypeError('Not a redis:// or rediss:// URL')
  const { now } = time
  let current: Attempt | undefined
  let closed = false

  function begin(): Attempt {
    const end = () => {
      attempt.ended = true
    }
    const attempt: Attempt = { began: now(), opening: connectRedis(url, { time, onEnd: end }), ended: false }
    attempt.opening.catch(end)
    return attempt
  }

  return {
    async send(command, signal) {
      signal.throwIfAborted()
      if (closed) throw new Error('This connection to Redis was closed')
      if (current === undefined || (current.ended && now() - current.began >= PAUSE_MS)) current = begin()
      const connection = await untilAborted(current.opening, signal)
      return connection.send(command, signal)
    },
    close() {
      closed = true
      current?.opening.then(
        (connection) => connection.close(),
        () => {},
      )
    },
  }
}
