import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CLOCK_LAG_MS } from '../policy/index.ts'
import { storeClock } from './clock.ts'

const START = Date.UTC(2026, 0, 1)

/** Readings of a store whose Date header is cut to the second; `true` time is START + our monotonic clock. */
const readings = fc.array(
  fc.record({
    after: fc.integer({ min: 0, max: 5_000 }),
    toStore: fc.integer({ min: 0, max: 3_000 }),
    back: fc.integer({ min: 0, max: 3_000 }),
  }),
  { minLength: 1, maxLength: 30 },
)

describe('the store’s clock', () => {
  test('is never early, never goes back, and never lags by more than limits allow for', () => {
    fc.assert(
      fc.property(readings, (sequence) => {
        let time = 0
        const clock = storeClock(() => time)
        let last = 0
        for (const { after, toStore, back } of sequence) {
          time += after
          const sent = time
          const date = Math.floor((START + sent + toStore) / 1_000) * 1_000
          time += toStore + back
          clock.observe({ date, sent, received: time })
          const earliest = clock.earliest()
          if (earliest === undefined) continue
          expect(earliest).toBeLessThanOrEqual(START + time)
          expect(earliest).toBeGreaterThanOrEqual(last)
          // The drift that is allowed for adds 0.2 ms a second.
          expect(START + time - earliest).toBeLessThanOrEqual(CLOCK_LAG_MS + 1 + time * 2e-4)
          last = earliest
        }
      }),
    )
  })

  test('knows nothing before its first reading, and learns nothing from a reply that took too long', () => {
    let time = 0
    const clock = storeClock(() => time)
    expect(clock.earliest()).toBeUndefined()
    time = 1_001
    clock.observe({ date: START, sent: 0, received: 1_001 })
    expect(clock.earliest()).toBeUndefined()
    clock.observe({ date: START, sent: 1, received: 1_001 })
    expect(clock.earliest()).toBe(START)
  })

  test('keeps the better of two readings', () => {
    let time = 0
    const clock = storeClock(() => time)
    clock.observe({ date: START + 1_000, sent: 0, received: 0 })
    time = 500
    // Half a second later the store still tells the same second: the first reading says more.
    clock.observe({ date: START + 1_000, sent: 500, received: 500 })
    expect(clock.earliest()).toBe(START + 1_499)
    clock.observe({ date: START + 2_000, sent: 500, received: 500 })
    expect(clock.earliest()).toBe(START + 2_000)
  })
})
