import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isSet, storeClock } from './store-clock.ts'

const START = Date.UTC(2026, 0, 1)
const SECOND = { resolutionMs: 1_000 }

/** A store whose Date header is cut to the second, and a machine that sleeps and whose wall clock is off. */
const readings = fc.array(
  fc.record({
    after: fc.integer({ min: 0, max: 5_000 }),
    asleep: fc.constantFrom(0, 0, 0, 7_000),
    toStore: fc.integer({ min: 0, max: 3_000 }),
    back: fc.integer({ min: 0, max: 3_000 }),
  }),
  { minLength: 1, maxLength: 30 },
)

describe('the store’s clock', () => {
  test('holds true time for certain, and its beginning never goes back', () => {
    fc.assert(
      fc.property(readings, fc.integer({ min: -200, max: 200 }), fc.integer(), (sequence, ppm, wallError) => {
        const rate = 1 + ppm * 1e-6 * 0.99
        let truth = START
        let slept = 0
        const now = () => (truth - START - slept) * rate
        const wallClock = () => truth + wallError
        const clock = storeClock({ now, wallClock })
        let last = 0
        for (const { after, asleep, toStore, back } of sequence) {
          truth += after + asleep
          slept += asleep
          const [sent, asked] = [now(), wallClock()]
          const date = Math.floor((truth + toStore) / 1_000) * 1_000
          truth += toStore + back
          clock.observe({ date, ...SECOND, sent, received: now() }, asked)
          const interval = clock.interval()
          expect(interval?.earliest).toBeLessThanOrEqual(truth)
          expect(interval?.latest).toBeGreaterThanOrEqual(truth)
          expect(interval?.earliest).toBeGreaterThanOrEqual(last)
          last = interval?.earliest ?? 0
        }
      }),
    )
  })

  test('is far narrower than a second after a few readings', () => {
    let time = 0
    const clock = storeClock({ now: () => time, wallClock: () => time })
    for (let reading = 0; reading < 20; reading += 1) {
      time += 137
      const date = Math.floor((START + time) / 1_000) * 1_000
      clock.observe({ date, ...SECOND, sent: time - 5, received: time + 5 }, time - 5)
      time += 5
    }
    const { earliest = 0, latest = 0 } = clock.interval() ?? {}
    expect(latest - earliest).toBeLessThan(250)
  })

  test('knows nothing before its first reading', () => {
    const clock = storeClock({ now: () => 0, wallClock: () => 0 })
    expect(clock.interval()).toBeUndefined()
    expect(isSet(clock.interval())).toBe(false)
  })

  test('keeps the better of two readings', () => {
    let time = 0
    const clock = storeClock({ now: () => time, wallClock: () => time })
    const read = (date: number) => clock.observe({ date, ...SECOND, sent: time, received: time }, time)
    read(START + 1_000)
    time = 500
    // Half a second later the store still tells the same second: the first reading says more of the beginning.
    read(START + 1_000)
    expect(clock.interval()).toEqual({ earliest: START + 1_499, latest: START + 2_000 })
    read(START + 2_000)
    expect(clock.interval()).toEqual({ earliest: START + 2_000, latest: START + 2_000 })
  })

  test('goes by the newest of two that exclude each other: a clock was set', () => {
    const clock = storeClock({ now: () => 0, wallClock: () => 0 })
    clock.observe({ date: START + 60_000, ...SECOND, sent: 0, received: 0 }, 0)
    clock.observe({ date: START, ...SECOND, sent: 0, received: 0 }, 0)
    expect(clock.interval()).toEqual({ earliest: START, latest: START + 1_000 })
  })

  test('is not to be gone by after a sleep, until it is read again', () => {
    let [time, wall] = [0, 0]
    const clock = storeClock({ now: () => time, wallClock: () => wall })
    clock.observe({ date: START, ...SECOND, sent: 0, received: 0 }, 0)
    expect(isSet(clock.interval())).toBe(true)
    wall = 60_000
    expect(isSet(clock.interval())).toBe(false)
    time = 1
    clock.observe({ date: START + 60_000, ...SECOND, sent: 1, received: 1 }, 60_000)
    expect(isSet(clock.interval())).toBe(true)
  })
})
