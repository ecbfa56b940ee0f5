/** Bytes that many streams share, so that all of them together stay within a bound. */
export interface ByteBudget {
  /** Takes so many, or none. */
  take(bytes: number): boolean
  give(bytes: number): void
}

export function byteBudget(maxBytes: number): ByteBudget {
  let taken = 0
  return {
    take(bytes) {
      if (taken + bytes > maxBytes) return false
      taken += bytes
      return true
    },
    give(bytes) {
      taken -= bytes
    },
  }
}

/** Events of a stream, as bytes, by their place in it; the first ones can be let go. */
export interface KeptBytes {
  /** Place of the first byte that is kept. */
  readonly first: number
  /** Place after the last byte. */
  readonly end: number
  /** How many are kept; the memory for them is at most 64 KiB more. */
  readonly bytes: number
  /** Adds a copy of one event, which ends with a blank line. */
  add(event: Uint8Array): void
  /** Whole events from the beginning of one on, as many as stand together; `undefined` where none have come yet. Not to be changed. */
  eventsFrom(place: number): Uint8Array | undefined
  /** Lets go what stands before a place: what stands together with bytes after it is kept. */
  dropBefore(place: number): void
  /** Lets go the first bytes that stand together. */
  drop(): void
  /** All that is kept, in one piece of its own memory. */
  joined(): Uint8Array
}

/** A block is as large as all before it, within these bounds: a short stream takes little, a long one few blocks. */
const LEAST_BLOCK_BYTES = 4 * 1024
const MOST_BLOCK_BYTES = 64 * 1024

const LF = 10
const EVENT_END = '\n\n'

interface Block {
  readonly start: number
  readonly memory: Buffer
  length: number
}

/**
 * Copied into blocks of our own: a stream of tiny events would cost many times its bytes in objects, and each event may
 * hold a larger piece of memory that it is a part of.
 */
export function keptBytes(): KeptBytes {
  return new Kept()
}

class Kept implements KeptBytes {
  first = 0
  end = 0
  readonly #blocks: Block[] = []

  get bytes(): number {
    return this.end - this.first
  }

  add(event: Uint8Array): void {
    for (let at = 0; at < event.byteLength; ) {
      const last = this.#blocks.at(-1)
      const block = last === undefined || last.length === last.memory.byteLength ? this.#newBlock() : last
      const part = at === 0 ? event : event.subarray(at)
      const room = block.memory.byteLength - block.length
      const fitting = part.byteLength <= room ? part : part.subarray(0, room)
      block.memory.set(fitting, block.length)
      block.length += fitting.byteLength
      this.end += fitting.byteLength
      at += fitting.byteLength
    }
  }

  eventsFrom(place: number): Uint8Array | undefined {
    const index = indexOf(this.#blocks, place)
    const block = this.#blocks[index]
    if (block === undefined || place >= this.end) return undefined
    const bytes = block.memory.subarray(place - block.start, block.length)
    const lastEnd = endAfter(bytes.lastIndexOf(EVENT_END))
    return lastEnd === undefined ? this.#longEvent(index, bytes) : bytes.subarray(0, lastEnd)
  }

  dropBefore(place: number): void {
    for (let [first] = this.#blocks; first !== undefined; [first] = this.#blocks) {
      if (first.start + first.memory.byteLength > place) return
      this.drop()
    }
  }

  drop(): void {
    const block = this.#blocks.shift()
    if (block !== undefined) this.first = block.start + block.length
  }

  joined(): Uint8Array {
    const whole = Buffer.allocUnsafeSlow(this.bytes)
    for (const { start, memory, length } of this.#blocks) whole.set(memory.subarray(0, length), start - this.first)
    return whole
  }

  #newBlock(): Block {
    const size = Math.min(MOST_BLOCK_BYTES, Math.max(LEAST_BLOCK_BYTES, this.bytes))
    const block = { start: this.end, memory: Buffer.allocUnsafeSlow(size), length: 0 }
    this.#blocks.push(block)
    return block
  }

  /** The one event that begins in this block, at a place in it, and ends in a later one. */
  #longEvent(index: number, beginning: Buffer): Uint8Array {
    const parts = [beginning]
    for (const { memory, length } of this.#blocks.slice(index + 1)) {
      const part = memory.subarray(0, length)
      const isCutInEnd = parts.at(-1)?.at(-1) === LF && part[0] === LF
      const eventEnd = isCutInEnd ? 1 : endAfter(part.indexOf(EVENT_END))
      parts.push(part.subarray(0, eventEnd))
      if (eventEnd !== undefined) break
    }
    return Buffer.concat(parts)
  }
}

function endAfter(found: number): number | undefined {
  return found < 0 ? undefined : found + EVENT_END.length
}

/** Of the last block that begins at a place or before it; -1 where none does. */
function indexOf(blocks: readonly Block[], place: number): number {
  let low = 0
  let high = blocks.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((blocks[middle] as Block).start <= place) low = middle + 1
    else high = middle
  }
  return low - 1
}
