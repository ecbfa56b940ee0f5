/** Table Storage's bounds: 64 KiB a property, 1 MiB an entity. Azurite counts the entity as sent, in base64: 11 fit. */
export const CHUNK_BYTES = 64 * 1024
export const MAX_CHUNKS = 11

/** Bytes over as many properties as they need: `name0`, `name1` … */
export function chunked(name: string, bytes: Uint8Array): Record<string, Uint8Array> {
  const chunks: Record<string, Uint8Array> = {}
  for (let index = 0; index * CHUNK_BYTES < bytes.byteLength; index += 1) {
    chunks[`${name}${index}`] = bytes.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES)
  }
  return chunks
}

/** The properties that such bytes can have. */
export function chunkNames(name: string): readonly string[] {
  return Array.from({ length: MAX_CHUNKS }, (_, index) => `${name}${index}`)
}

export function joined(name: string, fields: Readonly<Record<string, unknown>>): Buffer {
  const chunks: Uint8Array[] = []
  for (const each of chunkNames(name)) {
    const chunk = fields[each]
    if (!(chunk instanceof Uint8Array)) break
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
