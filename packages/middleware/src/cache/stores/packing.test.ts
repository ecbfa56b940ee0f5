import { hash, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { CacheEntry } from '../entry.ts'
import { MAX_PACKED_BYTES, MAX_UNPACKED_BYTES, pack, unpack } from './packing.ts'

const entry = (change: Partial<CacheEntry> = {}): CacheEntry => ({
  answer: Buffer.from('{"choices":[{"message":{"role":"assistant","content":"Because."}}]}'),
  events: undefined,
  usage: undefined,
  storedAt: 1_790_000_000_001,
  expiresAt: 1_790_003_600_001,
  ...change,
})

/** Bytes compared as bytes, whatever holds them. */
const plain = (found: CacheEntry | undefined) =>
  found && { ...found, answer: Buffer.from(found.answer), events: found.events && Buffer.from(found.events) }

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 3_000 }).map((array) => Buffer.from(array)),
  fc
    .tuple(fc.uint8Array({ minLength: 1, maxLength: 30 }), fc.nat({ max: 9_000 }))
    .map(([piece, times]) => Buffer.alloc(piece.length * times, piece)),
)
const count = fc.nat(2 ** 52 - 1)
const entries: fc.Arbitrary<CacheEntry> = fc.record({
  answer: bytes,
  events: fc.option(bytes, { nil: undefined }),
  usage: fc.option(fc.record({ tokens: fc.record({ input: count, cachedInput: count, output: count }) }), {
    nil: undefined,
  }),
  candidate: fc.option(fc.nat({ max: 62 }), { nil: undefined }),
  storedAt: fc.double({ noDefaultInfinity: true, noNaN: true }),
  expiresAt: fc.double({ noDefaultInfinity: true, noNaN: true }),
})

async function packed(of: CacheEntry): Promise<Uint8Array> {
  const made = await pack(of)
  if (made === undefined) throw new Error('too large')
  return made
}

/** With a digest that fits, as another version of this very code would write it. */
function signed(bytes: Uint8Array): Uint8Array {
  const body = Buffer.from(bytes).subarray(0, -32)
  return Buffer.concat([body, hash('sha256', body, 'buffer')])
}

describe('a packed entry', () => {
  test('is unpacked as it was, to the byte', async () => {
    await fc.assert(
      fc.asyncProperty(entries, async (made) => {
        expect(plain(await unpack(await packed(made)))).toEqual(plain(made))
      }),
    )
  })

  test('says which candidate answered where a version before neither writes nor reads', async () => {
    const [plain, told] = [await packed(entry()), await packed(entry({ candidate: 62 }))]
    const differing = [...plain.keys()].filter((at) => at < plain.length - 32 && plain[at] !== told[at])
    // The two lower bits of the flags are all that it goes by.
    expect([differing, (plain[2] ?? 0) & 3, told.length]).toEqual([[2], (told[2] ?? 0) & 3, plain.length])
    expect((await unpack(plain))?.candidate).toBeUndefined()
    expect((await unpack(await packed(entry({ candidate: 63 }))))?.candidate).toBeUndefined()
  })

  test.each([2047, 2048, 2049, 65_536, 65_537, 2_900_000])('of %i random bytes, or as many alike', async (size) => {
    for (const answer of [randomBytes(size), Buffer.alloc(size, 'a')]) {
      const made = entry({ answer, events: Buffer.from('data: [DONE]\n\n') })
      expect(plain(await unpack(await packed(made)))).toEqual(plain(made))
    }
  })

  test('has its usage as the version before wrote and reads it: cached input is a part of the input', async () => {
    const tokens = { input: 9, cachedInput: 3, cacheWrite: 5, output: 400, audioOutput: 56 }
    const bytes = Buffer.from(await packed(entry({ usage: { tokens } })))
    expect([19, 27, 35].map((at) => bytes.readDoubleBE(at))).toEqual([17, 3, 456])
    expect((await unpack(bytes))?.usage).toEqual({ tokens: { input: 14, cachedInput: 3, output: 456 } })
  })

  test('is nothing when any byte of it was changed', async () => {
    const whole = await packed(entry({ usage: { tokens: { input: 1, cachedInput: 0, output: 1 } } }))
    for (let index = 0; index < whole.byteLength; index += 1) {
      const damaged = new Uint8Array(whole)
      damaged[index] = (damaged[index] ?? 0) ^ (1 << (index % 8))
      expect(await unpack(damaged)).toBeUndefined()
    }
  })

  test('is nothing when it was cut, wherever, or when something follows', async () => {
    const whole = await packed(entry())
    for (let length = 0; length < whole.byteLength; length += 1) {
      expect(await unpack(whole.subarray(0, length))).toBeUndefined()
      expect(await unpack(whole.subarray(whole.byteLength - length))).toBeUndefined()
    }
    expect(await unpack(Buffer.concat([whole, Buffer.from([0])]))).toBeUndefined()
  })

  test.each([
    ['of an unknown version', 0, 2],
    ['of an unknown codec', 1, 3],
    ['that is not compressed as it says', 1, 2],
    ['that is not stored as it says', 1, 0],
    ['longer than it says', 46, 1],
    ['that says it is larger than any may be', 43, 255],
  ])('%s is nothing', async (_what, index, value) => {
    const bytes = Buffer.from(await packed(entry()))
    expect(await unpack(signed(bytes))).toBeDefined()
    bytes[index] = value
    expect(await unpack(signed(bytes))).toBeUndefined()
  })

  test('is nothing when it is made up', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 90, maxLength: 300 }),
        fc.constantFrom(0, 1, 2),
        async (made, codec) => {
          made.set([1, codec])
          // Whatever it comes to, it comes to no error.
          await unpack(signed(made))
          expect(await unpack(made)).toBeUndefined()
        },
      ),
    )
  })

  test('shares no memory with its bytes', async () => {
    const bytes = await packed(entry({ answer: randomBytes(100) }))
    const found = await unpack(bytes)
    const before = Buffer.from(found?.answer ?? []).toString('hex')
    bytes.fill(0)
    expect(Buffer.from(found?.answer ?? []).toString('hex')).toBe(before)
  })
})

describe('packing', () => {
  test('makes a completion smaller', async () => {
    const answer = Buffer.from(
      JSON.stringify({ choices: [{ index: 0, message: { content: 'Because. '.repeat(20) } }] }),
    )
    expect((await packed(entry({ answer }))).byteLength).toBeLessThan(answer.byteLength)
  })

  test('makes nothing larger by more than its own head', async () => {
    const answer = randomBytes(1_000)
    expect((await packed(entry({ answer }))).byteLength).toBeLessThan(answer.byteLength + 100)
  })

  test('refuses what is too large, before or after', async () => {
    expect(await pack(entry({ answer: randomBytes(MAX_PACKED_BYTES) }))).toBeUndefined()
    expect(await pack(entry({ answer: Buffer.alloc(MAX_UNPACKED_BYTES), events: Buffer.alloc(1) }))).toBeUndefined()
    expect(await pack(entry({ answer: Buffer.alloc(MAX_UNPACKED_BYTES) }))).toBeDefined()
  })
})
