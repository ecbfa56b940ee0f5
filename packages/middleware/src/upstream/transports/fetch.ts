import { type ByteSource, fromIterable, fromWebStream, untilAborted } from '../../pipeline/index.ts'
import { ConnectionFailed } from './connection-failed.ts'
import { type RequestBuilderOptions, requestBuilder } from './request-builder.ts'
import type { Transport, TransportAnswer } from './transport.ts'

/** System and TLS errors by which no connection comes about that a request could have gone over. */
const NEVER_CONNECTED =
  /^(?:ECONNREFUSED|ENOTFOUND|EAI_\w+|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT|ERR_TLS_\w+|CERT_\w+|\w*CERT(?:IFICATE)?|UNABLE_TO_\w+)$/

export interface FetchTransportOptions extends RequestBuilderOptions {
  readonly fetch: typeof fetch
}

/** Sends requests by a `fetch` of another's making. Notes a call's progress as well as can be told from outside. */
export function fetchTransport({ fetch, ...options }: FetchTransportOptions): Transport {
  const requests = requestBuilder(options)
  return {
    translation: requests.translation,
    prepare: (target, { path }) => requests.prepare(target, path),
    async send(target, { path }, body, { signal, requestId, forwarded = [], progress }) {
      const { template, shown, method, added } = await requests.build(target, path, body, signal)
      const { url, redirect = 'error' } = template
      const pairs = requestId === undefined ? template.headers : [...template.headers, 'x-request-id', requestId]
      const headers = headersOf([...pairs, ...forwarded, ...added])
      progress.url = shown
      progress.sent = true
      const sending = fetch(url.href, { method, headers, body: body as Uint8Array<ArrayBuffer>, redirect, signal })
      try {
        return answerOf(await untilAborted(sending, signal))
      } catch (cause) {
        if (neverConnected(cause)) delete progress.sent
        if (!signal.aborted) throw new ConnectionFailed(url.host, { sent: progress.sent === true, cause })
        // One that comes nonetheless has no reader.
        sending.then(({ body }) => body?.cancel()).catch(() => {})
        throw signal.reason
      }
    },
  }
}

/** @param pairs names and values, by turns */
function headersOf(pairs: readonly string[]): Headers {
  const headers = new Headers()
  for (let at = 0; at + 1 < pairs.length; at += 2) headers.append(pairs[at] as string, pairs[at + 1] as string)
  return headers
}

function answerOf({ status, headers, body }: Response): TransportAnswer {
  const source: ByteSource = body === null ? fromIterable([]) : fromWebStream(body)
  return { status, headers: Object.fromEntries(headers), body: source }
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
