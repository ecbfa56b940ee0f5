import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { eventsIn } from '../operations/index.ts'
import { keptBytes } from './kept-bytes.ts'

/** An event of so many bytes, in as many lines as may be. */
function eventOf(size: number, lines: number): Buffer {
  const line = Math.max(1, Math.floor(size / lines))
  return Buffer.from(`${Array.from({ length: lines }, () => `data: ${'x'.repeat(line)}\n`).join('')}\n`)
}

const events = fc.array(
  fc
    .record({
      size: fc.oneof(fc.nat(300), fc.integer({ min: 3_900, max: 4_200 }), fc.integer({ min: 16_384, max: 200_000 })),
      lines: fc.integer({ min: 1, max: 3 }),
    })
    .map(({ size, lines }) => eventOf(size, lines)),
  { maxLength: 12 },
)

describe('kept bytes', () => {
  test('are read event by event from the beginning of any, and let go from their beginning', () => {
    fc.assert(
      fc.property(events, fc.nat(), (pieces, at) => {
        const kept = keptBytes()
        for (const piece of pieces) kept.add(piece)
        const all = Buffer.concat(pieces)
        expect(Buffer.from(kept.joined()).equals(all)).toBe(true)
        const from = pieces.length === 0 ? 0 : at % pieces.length
        const place = Buffer.concat(pieces.slice(0, from)).length
        kept.dropBefore(place)
        expect(kept.first).toBeLessThanOrEqual(place)
        expect([kept.bytes, kept.end]).toEqual([all.length - kept.first, all.length])
        const read: Buffer[] = []
        for (let next = place, part = kept.eventsFrom(next); part !== undefined; part = kept.eventsFrom(next)) {
          for (const { bytes } of eventsIn(part)) read.push(Buffer.from(bytes))
          next += part.byteLength
        }
        expect(read.map(({ length }) => length)).toEqual(pieces.slice(from).map(({ length }) => length))
        expect(Buffer.concat(read).equals(all.subarray(place))).toBe(true)
        expect(kept.eventsFrom(all.length)).toBeUndefined()
        while (kept.bytes > 0) kept.drop()
        expect(kept.first).toBe(all.length)
      }),
      { numRuns: 200 },
    )
  })

  test.each([4_095, 4_096, 4_097, 8_191, 8_192])(
    'of an event that ends at byte %i, where a block may end, are whole',
    (end) => {
      const kept = keptBytes()
      const pieces = [eventOf(end - 'data: \n\n'.length, 1), eventOf(10, 1)]
      for (const piece of pieces) kept.add(piece)
      expect(pieces[0]?.length).toBe(end)
      const read: Uint8Array[] = []
      for (let next = 0, part = kept.eventsFrom(next); part !== undefined; part = kept.eventsFrom(next)) {
        read.push(...[...eventsIn(part)].map(({ bytes }) => bytes))
        next += part.byteLength
      }
      expect(read.map(({ byteLength }) => byteLength)).toEqual(pieces.map(({ length }) => length))
    },
  )
})
