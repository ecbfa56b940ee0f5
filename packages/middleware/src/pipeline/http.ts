import type { Refusal } from './refusal.ts'
import { type ByteSource, type ByteStream, toWebStream } from './source.ts'

/** What every middleware can read of what it is given, in either onion. */
export interface Input {
  /** Aborts when nobody waits for the answer any more: the client has left, or the gateway ends the request. */
  readonly signal: AbortSignal
  readonly headers: RequestHeaders
}

/** Headers of a request: the Fetch API's, or a host's own, which cost nothing until one is asked for. */
export interface RequestHeaders {
  /** By its name in lower case: the values of all that have it, joined by commas; `null` where none has. */
  get(name: string): string | null
}

/** A request as the HTTP onion sees it: read-only, and free of any host's types. */
export interface GatewayRequest extends Input {
  readonly method: string
  readonly url: URL
  /** To be read once. */
  readonly body: ByteSource | null
  /**
   * The span that the host itself has begun for the request, as W3C Trace Context writes it; left out where it has none. It is
   * the parent of all that the gateway does, before what the client's headers say.
   */
  readonly hostSpan?:
    | { readonly traceparent?: string | undefined; readonly tracestate?: string | undefined }
    | undefined
  /** The client's address as the nearest proxy saw it; limits what an unknown client may cost. */
  readonly clientAddress: string
}

/** Headers of an answer, by their names in lower case. */
export type ReplyHeaders = Readonly<Record<string, string>>

/** An answer of the HTTP onion: plain values, of which a host makes what its server takes. */
export interface HttpResponse {
  readonly kind: 'response'
  readonly status: number
  readonly headers: ReplyHeaders
  readonly body: Uint8Array | ByteStream | null
}

/**
 * What a middleware of the HTTP onion returns. A refusal is data until the outermost renders it in the shape of the surface
 * that was called.
 */
export type HttpReply = HttpResponse | Refusal

/** These concern one connection, and not the message (RFC 9110, section 7.6.1). */
export const HOP_BY_HOP_HEADERS: readonly string[] = [
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]

/** The same reply with more headers, which replace those of the same names. */
export function withHeaders<R extends HttpReply>(reply: R, headers: ReplyHeaders): R {
  return { ...reply, headers: { ...reply.headers, ...headers } }
}

/** @example jsonResponse(200, { status: 'live' }, { 'cache-control': 'no-store' }) */
export function jsonResponse(status: number, value: unknown, headers: ReplyHeaders = {}): HttpResponse {
  const body = Buffer.from(JSON.stringify(value))
  return { kind: 'response', status, headers: { 'content-type': 'application/json', ...headers }, body }
}

export function isStream(body: HttpResponse['body']): body is ByteStream {
  return body !== null && 'read' in body
}

/** For hosts that speak the Fetch API. */
export function toWebResponse({ status, headers, body }: HttpResponse): Response {
  return new Response(
    isStream(body)
      ? (toWebStream(body) as ReadableStream<Uint8Array<ArrayBuffer>>)
      : (body as Uint8Array<ArrayBuffer> | null),
    { status, headers },
  )
}
