import { AddressNotAllowed } from '../../policy/index.ts'

/** No answer came, for the connection's sake. Its message is made for the operator: it holds a host, and no more of a URL. */
export class ConnectionFailed extends Error {
  override readonly name = 'ConnectionFailed'
  /** Whether it was given up after a time, as an address is from which nothing comes back. */
  readonly timedOut: boolean

  constructor(host: string, { sent, cause }: { readonly sent: boolean; readonly cause: unknown }) {
    super(sent ? `The connection to ${host} broke before an answer.` : `No connection to ${host}${why(cause)}`, {
      cause,
    })
    this.timedOut = isOfTime(cause)
  }

  /** Whether the host is where nobody may ask it. */
  get notAllowed(): boolean {
    return this.cause instanceof AddressNotAllowed
  }

  get operatorMessage(): string {
    return this.message
  }
}

/** The egress check's words, or undici's own for a proxy that turns us away, which say nothing secret. */
function why(cause: unknown): string {
  if (cause instanceof AddressNotAllowed) return `: ${cause.message}`
  const [, status] = /^Proxy response \((\d{3})\)/.exec(cause instanceof Error ? cause.message : '') ?? []
  return status === undefined ? '.' : `: the proxy answered ${status}.`
}

/** By its text, as the OpenAI SDK tells it: the system and each client have a code of their own. `fetch` wraps theirs. */
function isOfTime(cause: unknown): boolean {
  const { message, cause: inner } = Object(cause) as { readonly message?: unknown; readonly cause?: unknown }
  return /timed? ?out/i.test(`${cause}${message === 'fetch failed' ? inner : ''}`)
}
