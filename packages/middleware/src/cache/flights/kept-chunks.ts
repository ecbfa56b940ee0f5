/** Bytes of a stream by their place in it, of which the first ones can be let go. */
export interface KeptChunks {
  /** Place of the first byte that is kept. */
  readonly first: number
  /** How many are kept; the memory for them is at most 64 KiB more. */
  readonly bytes: number
  /** Adds a copy, but of a large chunk in memory of its own, which is not to be changed then. */
  add(chunk: Uint8Array): void
  /** Bytes from a place on, as many as stand together; `undefined` where none have come yet. Not to be changed. */
  from(place: number): Uint8Array | undefined
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
/** A chunk of this size is a block by itself. */
const LARGE_BYTES = 16 * 1024

interface Block {
  readonly start: number
  readonly memory: Uint8Array
  length: number
}

/**
 * Copied into blocks of our own: a stream of tiny chunks would cost many times its bytes in objects, and each chunk may
 * hold a larger piece of memory that it is a part of.
 */
export function keptChunks(): KeptChunks {
  const blocks: Block[] = []
  let first = 0
  let end = 0

  function newBlock(): Block {
    const size = Math.min(MOST_BLOCK_BYTES, Math.max(LEAST_BLOCK_BYTES, end - first))
    const block = { start: end, memory: new Uint8Array(size), length: 0 }
    blocks.push(block)
    return block
  }

  function drop(): void {
    const block = blocks.shift()
    if (block !== undefined) first = block.start + block.length
  }

  return {
    get first() {
      return first
    },
    get bytes() {
      return end - first
    },
    add(chunk) {
      const isOwn = chunk.byteLength >= LARGE_BYTES && chunk.buffer.byteLength === chunk.byteLength
      // Not after a block that has room: its rest would be wasted.
      if (isOwn && isFull(blocks.at(-1))) {
        blocks.push({ start: end, memory: chunk, length: chunk.byteLength })
        end += chunk.byteLength
        return
      }
      for (let at = 0; at < chunk.byteLength; ) {
        const last = blocks.at(-1)
        const block = last === undefined || isFull(last) ? newBlock() : last
        const part = chunk.subarray(at, at + block.memory.byteLength - block.length)
        block.memory.set(part, block.length)
        block.length += part.byteLength
        end += part.byteLength
        at += part.byteLength
      }
    },
    from(place) {
      const block = blocks[indexOf(blocks, place)]
      return block === undefined || place >= end ? undefined : block.memory.subarray(place - block.start, block.length)
    },
    dropBefore(place) {
      while (blocks[0] !== undefined && blocks[0].start + blocks[0].memory.byteLength <= place) drop()
    },
    drop,
    joined() {
      const whole = new Uint8Array(end - first)
      for (const { start, memory, length } of blocks) whole.set(memory.subarray(0, length), start - first)
      return whole
    },
  }
}

function isFull(block: Block | undefined): boolean {
  return block === undefined || block.length === block.memory.byteLength
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
