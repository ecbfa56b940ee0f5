import { isOutage, OperatorError, type Time, untilAborted, withDeadline } from '../pipeline/index.ts'

export type RedisArgument = string | Buffer
/** Strings come as bytes. */
export type RedisReply = number | Buffer | null | readonly RedisReply[]

export interface Redis {
  /**
   * Sends one command, once. Where it rejects with anything but Redis's own answer, the command may or may not have been
   * carried out, and may still be.
   *
   * @throws the signal's reason; RedisUnreachable; Redis's own answer, an error with its `code` (`OOM`, `READONLY` …).
   */
  send(command: readonly RedisArgument[], signal: AbortSignal): Promise<RedisReply>
  /** Ends the connection. Commands without an answer reject. */
  close(): void
}

/** No connection could be opened. The message names no part of the URL but host and port. */
export class RedisUnreachable extends OperatorError {
  override readonly name = 'RedisUnreachable'
  /** Of Node (`ECONNREFUSED`), of TLS (`CERT_HAS_EXPIRED`) or of Redis (`WRONGPASS`). */
  readonly code: string
  constructor(host: string, code: string) {
    super(`No connection to Redis at ${host}: ${code}`)
    this.code = code
  }
}

/** A server that takes the connection and says nothing must not keep everyone waiting for good. */
const CONNECT_MS = 5_000
/**
 * A peer that vanished without a word is only noticed by the kernel after a quarter of an hour. Redis answers in order
 * and within a millisecond or so: a connection whose oldest command waits for longer than this has lost it.
 */
const SILENCE_MS = 1_000

export interface ConnectOptions {
  readonly time: Pick<Time, 'now' | 'after'>
  /** Called when the connection is of no use any more, once or oftener. */
  readonly onEnd: () => void
}

/**
 * One connection, which is not mended when it breaks: what is in flight rejects, and nothing is sent again.
 *
 * @param url `redis://` or `rediss://`
 * @throws RedisUnreachable
 */
export async function connectRedis(url: string, { time, onEnd }: ConnectOptions): Promise<Redis> {
  const { createClient, ErrorReply, RESP_TYPES } = await import('@redis/client')
  // RESP 2 is spoken by every server and proxy, and authenticates by a command of its own.
  const client = createClient({
    url,
    RESP: 2,
    maintNotifications: 'disabled',
    disableOfflineQueue: true,
    socket: { reconnectStrategy: false, connectTimeout: CONNECT_MS },
  })
  const replies = { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer }, timeout: 0 }
  const unanswered = new Set<{ readonly sent: number }>()

  const end = () => {
    client.destroy()
    onEnd()
  }
  // Without a listener the event would end the process. Only after it are commands in flight told what went wrong.
  client.on('error', () => queueMicrotask(end))
  try {
    await withDeadline(CONNECT_MS, () => client.connect(), time)
  } catch (error) {
    client.destroy()
    if (!isOutage(error)) throw error
    throw new RedisUnreachable(new URL(url).host, codeOf(error))
  }

  return {
    async send(command, signal) {
      signal.throwIfAborted()
      const waiting = { sent: time.now() }
      unanswered.add(waiting)
      const reply = client
        .sendCommand<RedisReply>(command, { ...replies, abortSignal: signal })
        .finally(() => unanswered.delete(waiting))
        .catch((error) => {
          throw error instanceof ErrorReply ? Object.assign(error, { code: codeOf(error) }) : error
        })
      return untilAborted(reply, signal, () => {
        const [oldest] = unanswered
        if (oldest !== undefined && time.now() - oldest.sent >= SILENCE_MS) end()
      })
    },
    close: end,
  }
}

/** The code alone: some servers repeat what they were sent, and that was the password. */
function codeOf(error: unknown): string {
  const { code, name, message } = error as NodeJS.ErrnoException
  if (typeof code === 'string') return code
  return /^[A-Z]+(?= )/.exec(message)?.[0] ?? name
}
