/** Bytes that come in pieces, kept in one piece of memory of their own, so that what is held can be counted. */
export interface GrowingBytes {
  readonly length: number
  /** Adds a copy; `false`, and nothing is added, where more than `maxBytes` would be held. */
  append(bytes: Uint8Array): boolean
  /** What has come. The next `append` or `clear` may change it. */
  view(): Buffer
  clear(): void
}

const FIRST_BYTES = 1_024
/** Memory that is kept for the next bytes after `clear`. */
const SPARE_BYTES = 64 * 1024

export function growingBytes(maxBytes: number): GrowingBytes {
  let memory = Buffer.alloc(0)
  let length = 0

  function grow(needed: number): void {
    const grown = Buffer.allocUnsafeSlow(Math.min(maxBytes, Math.max(FIRST_BYTES, 2 * memory.byteLength, needed)))
    grown.set(memory.subarray(0, length))
    memory = grown
  }

  return {
    get length() {
      return length
    },
    append(bytes) {
      const needed = length + bytes.byteLength
      if (needed > maxBytes) return false
      if (needed > memory.byteLength) grow(needed)
      memory.set(bytes, length)
      length = needed
      return true
    },
    view: () => memory.subarray(0, length),
    clear() {
      length = 0
      if (memory.byteLength > SPARE_BYTES) memory = Buffer.alloc(0)
    },
  }
}
