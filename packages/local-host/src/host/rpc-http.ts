import type { IncomingMessage, ServerResponse } from 'node:http'
import type { RpcBody, RpcHttp } from '../worker/core-types.ts'
import { Refused } from './refused.ts'

/** The Functions host's bound on a request's body. */
const MAX_BODY_BYTES = 100 * 1024 * 1024

/** A request as the host hands it to the worker. @throws Refused for a body over the host's bound. */
export async function toRpc(
  request: IncomingMessage,
  url: URL,
  params: Readonly<Record<string, string>>,
): Promise<RpcHttp> {
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(request.headers)) {
    if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(', ') : value
  }
  // The platform's front end appends the address that it saw.
  const seen = request.socket.remoteAddress ?? ''
  headers['x-forwarded-for'] = headers['x-forwarded-for'] ? `${headers['x-forwarded-for']}, ${seen}` : seen
  return {
    url: url.href,
    method: request.method ?? 'GET',
    headers,
    query: Object.fromEntries(url.searchParams),
    params,
    body: { bytes: await readBody(request) },
  }
}

async function readBody(request: IncomingMessage): Promise<Uint8Array> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.byteLength
    if (length > MAX_BODY_BYTES) throw new Refused(413, `The host takes bodies up to ${MAX_BODY_BYTES} bytes.`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** Sends what the worker returned. @throws Refused for what this host doesn't send yet. */
export function writeResult(
  response: ServerResponse,
  { statusCode = '200', headers = {}, body, cookies = [] }: RpcHttp,
): void {
  if (cookies.length > 0) throw new Refused(501, 'The function set cookies. The local host does not send them, so far.')
  const bytes = bodyBytes(body)
  response.writeHead(Number(statusCode), { ...headers, 'content-length': bytes.byteLength })
  response.end(bytes)
}

function bodyBytes(body: RpcBody | null | undefined): Uint8Array {
  return body?.bytes ?? Buffer.from(body?.string ?? body?.json ?? '')
}
