import type { GatewayRequest } from '../pipeline/index.ts'

/**
 * Reads a body once; `undefined` if it is longer than `maxBytes`. A declared `Content-Length` over the bound is refused
 * unread, and a body that turns out longer than it said is dropped where it passes the bound.
 */
export async function readBody(request: GatewayRequest, maxBytes: number): Promise<Uint8Array | undefined> {
  if (Number(request.headers.get('content-length') ?? 0) > maxBytes) return undefined
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of request.body ?? []) {
    length += chunk.byteLength
    if (length > maxBytes) return undefined
    chunks.push(chunk)
  }
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks)
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** The value of a JSON text in UTF-8 (RFC 8259); `undefined` if the bytes are none. */
export function parseJson(bytes: Uint8Array): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(utf8.decode(bytes)) }
  } catch {
    return undefined
  }
}
