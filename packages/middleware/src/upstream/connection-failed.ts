/** No answer came, for the connection's sake. Its message is made for the operator: it holds a host, and no more of a URL. */
export class ConnectionFailed extends Error {
  override readonly name = 'ConnectionFailed'

  constructor(url: URL, { sent, cause }: { readonly sent: boolean; readonly cause: unknown }) {
    super(
      sent ? `The connection to ${url.host} broke before an answer.` : `No connection to ${url.host}${why(cause)}.`,
      {
        cause,
      },
    )
  }

  get operatorMessage(): string {
    return this.message
  }
}

/** undici's own words for a proxy that turns us away, which say nothing secret. */
function why(cause: unknown): string {
  const [, status] = /^Proxy response \((\d{3})\)/.exec(cause instanceof Error ? cause.message : '') ?? []
  return status === undefined ? '' : `: the proxy answered ${status}`
}
