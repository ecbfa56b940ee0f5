import { progressOf, shownUrl } from './call-progress.ts'

/** System and TLS errors by which no connection comes about that a request could have gone over. */
const NEVER_CONNECTED =
  /^(?:ECONNREFUSED|ENOTFOUND|EAI_\w+|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT|ERR_TLS_\w+|CERT_\w+|\w*CERT(?:IFICATE)?|UNABLE_TO_\w+)$/

/** A `fetch` of another's making, which notes a call's progress as well as can be told from outside. */
export function noting(send: typeof fetch): typeof fetch {
  return async (input, init) => {
    const progress = progressOf(init)
    progress.url = shownUrl(input instanceof Request ? input.url : input)
    progress.sent = true
    try {
      const response = await send(input, init)
      const { ok, status, headers } = response
      if (!ok) progress.refused = { status, headers }
      return response
    } catch (error) {
      if (neverConnected(error)) delete progress.sent
      throw error
    }
  }
}

function neverConnected(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const { code, message, cause } = error as {
    readonly code?: unknown
    readonly message: string
    readonly cause?: unknown
  }
  // `fetch` says of a port that it refuses no more than this.
  if (message === 'bad port') return true
  return (typeof code === 'string' && NEVER_CONNECTED.test(code)) || neverConnected(cause)
}
