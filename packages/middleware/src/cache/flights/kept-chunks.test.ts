import fc from 'fast-check'
import { expect, test } from 'vitest'
import { keptChunks } from './kept-chunks.ts'

test('what is kept is read from any place, however it came, and let go from its beginning', () => {
  const sizes = fc.array(fc.oneof(fc.nat(300), fc.integer({ min: 16_384, max: 70_000 })), { maxLength: 12 })
  fc.assert(
    fc.property(sizes, fc.double({ min: 0, max: 1, noNaN: true }), (sizes, share) => {
      const chunks = keptChunks()
      const pieces = sizes.map((size, index) => new Uint8Array(size).fill(index + 1))
      for (const piece of pieces) chunks.add(piece)
      const all = Buffer.concat(pieces)
      expect(Buffer.from(chunks.joined()).equals(all)).toBe(true)
      const place = Math.floor(share * all.length)
      chunks.dropBefore(place)
      expect(chunks.first).toBeLessThanOrEqual(place)
      expect(chunks.bytes).toBe(all.length - chunks.first)
      const read: Uint8Array[] = []
      for (let at = place, part = chunks.from(at); part !== undefined; part = chunks.from(at)) {
        read.push(part)
        at += part.byteLength
      }
      expect(Buffer.concat(read).equals(all.subarray(place))).toBe(true)
      expect(chunks.from(all.length)).toBeUndefined()
      while (chunks.bytes > 0) chunks.drop()
      expect(chunks.first).toBe(all.length)
    }),
    { numRuns: 200 },
  )
})
