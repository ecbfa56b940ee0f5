/** Chunks of a stream by their number, of which the first ones can be let go. */
export interface KeptChunks {
  /** Number of the first that is kept. */
  readonly first: number
  readonly bytes: number
  add(chunk: Uint8Array): void
  get(number: number): Uint8Array | undefined
  /** Lets go the first. */
  drop(): void
  /** All that is kept, in one piece of its own memory. */
  joined(): Uint8Array
}

export function keptChunks(): KeptChunks {
  let chunks: (Uint8Array | undefined)[] = []
  /** Number of `chunks[0]`; those before `gone` have been let go. */
  let base = 0
  let gone = 0
  let bytes = 0
  return {
    get first() {
      return base + gone
    },
    get bytes() {
      return bytes
    },
    add(chunk) {
      chunks.push(chunk)
      bytes += chunk.byteLength
    },
    get: (number) => chunks[number - base],
    drop() {
      bytes -= chunks[gone]?.byteLength ?? 0
      chunks[gone] = undefined
      gone += 1
      // Not each time: to move the rest for each chunk would cost the square of a stream's length.
      if (gone < 1_024 || gone < chunks.length / 2) return
      chunks = chunks.slice(gone)
      base += gone
      gone = 0
    },
    joined() {
      const whole = new Uint8Array(bytes)
      let at = 0
      for (const chunk of chunks) {
        if (chunk === undefined) continue
        whole.set(chunk, at)
        at += chunk.byteLength
      }
      return whole
    },
  }
}
