import type { IncomingMessage, ServerResponse } from 'node:http'
import type { RpcBody, RpcHttp } from '../worker/core-types.ts'
import { ownHeaders } from './own-headers.ts'
import { MAX_BODY_BYTES, Refused } from './refused.ts'
import { setCookie } from './set-cookie.ts'

/** A request's headers as the platform's front end hands them on: with the address that it saw. */
export function platformHeaders(request: IncomingMessage): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(request.headers)) {
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(', ') : value
  }
  const seen = request.socket.remoteAddress ?? ''
  headers['x-forwarded-for'] = headers['x-forwarded-for'] ? `${headers['x-forwarded-for']}, ${seen}` : seen
  return headers
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** The same as the real host reads them, in UTF-8, where Node takes each byte for a character. @throws Refused for other bytes. */
export function decodedHeaders(headers: Readonly<Record<string, string>>): Record<string, string> {
  const decoded: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers)) {
    try {
      decoded[name] = utf8.decode(Buffer.from(value, 'latin1'))
    } catch {
      throw new Refused(400, `The header '${name}' is not UTF-8.`)
    }
  }
  return decoded
}

/** A request as the host hands it to the worker when it doesn't stream. @throws Refused for a body over the host's bound. */
export async function toRpc(
  request: IncomingMessage,
  url: URL,
  params: Readonly<Record<string, string>>,
): Promise<RpcHttp> {
  return {
    url: url.href,
    method: request.method ?? 'GET',
    headers: decodedHeaders(platformHeaders(request)),
    query: Object.fromEntries(url.searchParams),
    params,
    body: { bytes: await readBody(request) },
  }
}

/** @throws Refused for a body over the host's bound. */
export async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.byteLength
    if (length > MAX_BODY_BYTES) throw new Refused(413, `The host takes bodies up to ${MAX_BODY_BYTES} bytes.`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** Sends what the worker returned; for nothing, 204. What the host has set already stays. */
export function writeResult(response: ServerResponse, http: RpcHttp | undefined): void {
  const { statusCode = '204', headers = {}, body, cookies = [] } = http ?? {}
  const bytes = bodyBytes(body)
  const own = ownHeaders(response)
  for (const [name, value] of Object.entries(headers)) {
    if (!own.has(name.toLowerCase())) response.appendHeader(name, value)
  }
  for (const cookie of cookies) response.appendHeader('set-cookie', setCookie(cookie))
  response.statusCode = Number(statusCode)
  if (statusCode !== '204') response.setHeader('content-length', bytes.byteLength)
  response.end(bytes)
}

function bodyBytes(body: RpcBody | null | undefined): Uint8Array {
  return body?.bytes ?? Buffer.from(body?.string ?? body?.json ?? '')
}
