import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { epochAt } from './budget.ts'

const at = (text: string) => Date.parse(text)

describe('a window', () => {
  test.each([
    ['minute', '2026-03-29T01:30:59.999Z', '2026-03-29T01:30:00Z', '2026-03-29T01:31:00Z'],
    ['hour', '2026-10-25T01:59:59.999Z', '2026-10-25T01:00:00Z', '2026-10-25T02:00:00Z'],
    ['day', '2028-02-29T23:59:59.999Z', '2028-02-29T00:00:00Z', '2028-03-01T00:00:00Z'],
    ['month', '2028-02-29T23:59:59.999Z', '2028-02-01T00:00:00Z', '2028-03-01T00:00:00Z'],
    ['month', '2026-12-31T23:59:59.999Z', '2026-12-01T00:00:00Z', '2027-01-01T00:00:00Z'],
    ['month', '2100-02-28T12:00:00Z', '2100-02-01T00:00:00Z', '2100-03-01T00:00:00Z'],
  ] as const)('of a %s holds %s', (per, moment, start, end) => {
    expect(epochAt(per, at(moment))).toEqual({ start: at(start), end: at(end) })
  })

  test('begins where the one before it ends, in whatever time zone the process runs', () => {
    const moments = fc.integer({ min: 0, max: at('2100-01-01T00:00:00Z') })
    fc.assert(
      fc.property(fc.constantFrom('minute', 'hour', 'day', 'month'), moments, (per, moment) => {
        const { start, end } = epochAt(per, moment)
        expect(start).toBeLessThanOrEqual(moment)
        expect(end).toBeGreaterThan(moment)
        expect(epochAt(per, end).start).toBe(end)
        if (start > 0) expect(epochAt(per, start - 1).end).toBe(start)
      }),
    )
  })
})
