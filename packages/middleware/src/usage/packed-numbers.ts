/*
 * Whole numbers and what is random, as few bytes. They are written for each request, so into memory that is there: a text for each
 * would outlive its request, and be copied by the garbage collector.
 */

export interface NumberPacker {
  readonly length: number
  /** What is no whole number from 0 on is taken for the nearest one. */
  number(value: number): void
  /** One that may be under 0. */
  signed(value: number): void
  /** 16 bytes; `false`, and nothing is written, where it is none as `randomUUID` makes them. */
  uuid(text: string): boolean
  /** 32 bytes; `false`, and nothing is written, where it is none as base64url has them. */
  digest(text: string): boolean
  /** Gives what was written, and begins anew. The next number may change it. */
  take(): Buffer
}

const FIRST_BYTES = 4_096
/** What one write takes at most. */
const MOST = 32
const MORE = 0x80
const LOW = 0x7f
/** Values of the first byte of a signed number, which also holds its sign. */
const SIGNED = 64
const DASH = 45
const NO_DIGIT = 0xff

/** Of a hexadecimal digit's character code, its value. */
const HEX = new Uint8Array(128).fill(NO_DIGIT)
for (const [value, digit] of [...'0123456789abcdef'].entries()) HEX[digit.charCodeAt(0)] = value

/** 256 bits: the last character holds four of them. */
const DIGEST = /^[\w-]{42}[AEIMQUYcgkosw048]$/
const DIGEST_BYTES = 32
const UUID_BYTES = 16

export function numberPacker(): NumberPacker {
  let memory = Buffer.allocUnsafeSlow(FIRST_BYTES)
  let length = 0

  function makeRoom(): void {
    if (length + MOST <= memory.byteLength) return
    const grown = Buffer.allocUnsafeSlow(memory.byteLength * 2)
    grown.set(memory)
    memory = grown
  }

  function number(value: number): void {
    makeRoom()
    let rest = value > 0 ? Math.min(Math.round(value), Number.MAX_SAFE_INTEGER) : 0
    while (rest > 0x7fffffff) {
      memory[length] = (rest % MORE) | MORE
      length += 1
      rest = Math.floor(rest / MORE)
    }
    while (rest > LOW) {
      memory[length] = (rest & LOW) | MORE
      length += 1
      rest >>>= 7
    }
    memory[length] = rest
    length += 1
  }

  return {
    get length() {
      return length
    },
    number,
    signed(value) {
      makeRoom()
      const size = Math.round(Math.abs(value))
      const first = (size % SIGNED) * 2 + (value < 0 ? 1 : 0)
      const rest = Math.floor(size / SIGNED)
      memory[length] = rest > 0 ? first | MORE : first
      length += 1
      if (rest > 0) number(rest)
    },
    uuid(text) {
      makeRoom()
      if (!uuidInto(memory, length, text)) return false
      length += UUID_BYTES
      return true
    },
    digest(text) {
      if (!DIGEST.test(text)) return false
      makeRoom()
      length += memory.write(text, length, DIGEST_BYTES, 'base64url')
      return true
    },
    take() {
      const taken = memory.subarray(0, length)
      length = 0
      return taken
    },
  }
}

function uuidInto(memory: Uint8Array, at: number, text: string): boolean {
  if (text.length !== 36) return false
  let char = 0
  for (let byte = 0; byte < UUID_BYTES; byte += 1) {
    if (byte === 4 || byte === 6 || byte === 8 || byte === 10) {
      if (text.charCodeAt(char) !== DASH) return false
      char += 1
    }
    const [high, low] = [HEX[text.charCodeAt(char)] ?? NO_DIGIT, HEX[text.charCodeAt(char + 1)] ?? NO_DIGIT]
    if (high === NO_DIGIT || low === NO_DIGIT) return false
    memory[at + byte] = high * 16 + low
    char += 2
  }
  return true
}

export interface NumberReader {
  number(): number
  signed(): number
  uuid(): string
  digest(): string
}

/** Reads what was packed, in the same order. @throws RangeError where nothing follows */
export function numberReader(bytes: Buffer): NumberReader {
  let at = 0

  function taking(count: number): Buffer {
    if (at + count > bytes.byteLength) throw new RangeError('Packed numbers end too early')
    at += count
    return bytes.subarray(at - count, at)
  }

  function number(): number {
    let value = 0
    for (let factor = 1; ; factor *= MORE) {
      const [byte = 0] = taking(1)
      value += (byte & LOW) * factor
      if (byte < MORE) return value
    }
  }

  return {
    number,
    signed() {
      const [byte = 0] = taking(1)
      const size = ((byte & LOW) >> 1) + (byte < MORE ? 0 : number() * SIGNED)
      return byte % 2 === 0 ? size : -size
    },
    uuid() {
      const hex = taking(UUID_BYTES).toString('hex')
      return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
    },
    digest: () => taking(DIGEST_BYTES).toString('base64url'),
  }
}
