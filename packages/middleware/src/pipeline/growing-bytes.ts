/** Bytes that come in pieces, kept in one piece of memory of their own, so that what is held can be counted. */
export interface GrowingBytes {
  readonly length: number
  /** Adds a copy; `false`, and nothing is added, where more than `maxBytes` would be held. */
  append(bytes: Uint8Array): boolean
  /** What has come. The next `append` or `clear` may change it. */
  view(): Buffer
  clear(): void
}

const EMPTY = Buffer.alloc(0)
const FIRST_BYTES = 1_024
/** Memory that is kept for the next bytes after `clear`. */
const SPARE_BYTES = 64 * 1024

class Growing implements GrowingBytes {
  length = 0
  readonly #maxBytes: number
  #memory = EMPTY
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  append(bytes: Uint8Array): boolean {
    const needed = this.length + bytes.byteLength
    if (needed > this.#maxBytes) return false
    if (needed > this.#memory.byteLength) this.#grow(needed)
    this.#memory.set(bytes, this.length)
    this.length = needed
    return true
  }

  #grow(needed: number): void {
    const size = Math.max(FIRST_BYTES, 2 * this.#memory.byteLength, needed)
    const grown = Buffer.allocUnsafeSlow(Math.min(this.#maxBytes, size))
    grown.set(this.view())
    this.#memory = grown
  }

  view(): Buffer {
    return this.#memory.subarray(0, this.length)
  }

  clear(): void {
    this.length = 0
    if (this.#memory.byteLength > SPARE_BYTES) this.#memory = EMPTY
  }
}

export function growingBytes(maxBytes: number): GrowingBytes {
  return new Growing(maxBytes)
}
