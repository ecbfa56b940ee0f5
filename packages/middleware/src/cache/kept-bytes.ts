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
  const blocks: Block[] = []
  let first = 0
  let end = 0

  function newBlock(): Block {
    const size = Math.min(MOST_BLOCK_BYTES, Math.max(LEAST_BLOCK_BYTES, end - first))
    const block = { start: end, memory: Buffer.allocUnsafeSlow(size), length: 0 }
    blocks.push(block)
    return block
  }

  function drop(): void {
    const block = blocks.shift()
    if (block !== undefined) first = block.start + block.length
  }

  /** The one event that begins in this block, at a place in it, and ends in a later one. */
  function longEvent(index: number, beginning: Buffer): Uint8Array {
    const parts = [beginning]
    for (const { memory, length } of blocks.slice(index + 1)) {
      const part = memory.subarray(0, length)
      const isCutInEnd = parts.at(-1)?.at(-1) === LF && part[0] === LF
      const eventEnd = isCutInEnd ? 1 : endAfter(part.indexOf(EVENT_END))
      parts.push(part.subarray(0, eventEnd))
      if (eventEnd !== undefined) break
    }
    return Buffer.concat(parts)
  }

  return {
    get first() {
      return first
    },
    get end() {
      return end
    },
    get bytes() {
      return end - first
    },
    add(event) {
      for (let at = 0; at < event.byteLength; ) {
        const last = blocks.at(-1)
        const block = last === undefined || last.length === last.memory.byteLength ? newBlock() : last
        const part = at === 0 ? event : event.subarray(at)
        const room = block.memory.byteLength - block.length
        const fitting = part.byteLength <= room ? part : part.subarray(0, room)
        block.memory.set(fitting, block.length)
        block.length += fitting.byteLength
        end += fitting.byteLength
        at += fitting.byteLength
      }
    },
    eventsFrom(place) {
      const index = indexOf(blocks, place)
      const block = blocks[index]
      if (block === undefined || place >= end) return undefined
      const bytes = block.memory.subarray(place - block.start, block.length)
      const lastEnd = endAfter(bytes.lastIndexOf(EVENT_END))
      return lastEnd === undefined ? longEvent(index, bytes) : bytes.subarray(0, lastEnd)
    },
    dropBefore(place) {
      while (blocks[0] !== undefined && blocks[0].start + blocks[0].memory.byteLength <= place) drop()
    },
    drop,
    joined() {
      const whole = Buffer.allocUnsafeSlow(end - first)
      for (const { start, memory, length } of blocks) whole.set(memory.subarray(0, length), start - first)
      return whole
    },
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
