import { describe, expect, test } from 'vitest'
import { readiness } from './index.ts'

/** Two checks, of which the second does what the test says, on a clock that stands. */
function fixture() {
  const seen = {
    time: 0,
    runs: 0,
    failures: [] as unknown[],
    run: async (_signal: AbortSignal): Promise<unknown> => 'x',
  }
  const ready = readiness({
    checks: [
      { name: 'first', run: async () => undefined },
      {
        name: 'second',
        run: (signal) => {
          seen.runs += 1
          return seen.run(signal)
        },
      },
    ],
    deadlineMs: 50,
    maxAgeMs: 10_000,
    now: () => seen.time,
  })
  return { seen, ask: () => ready((check, fault) => seen.failures.push([check, fault])) }
}

describe('readiness', () => {
  test('is all checks together', async () => {
    const { seen, ask } = fixture()
    expect(await ask()).toEqual({ ready: true, checks: { first: 'ok', second: 'ok' } })
    seen.time = 10_000
    seen.run = async () => {
      throw new Error('SECRET')
    }
    expect(await ask()).toEqual({ ready: false, checks: { first: 'ok', second: 'failed' } })
    expect(seen.failures).toEqual([['second', expect.objectContaining({ fault: 'Error' })]])
    expect(JSON.stringify(seen.failures)).not.toContain('SECRET')
  })

  test('has failed at its deadline, even where a check looks at no signal', async () => {
    const { seen, ask } = fixture()
    seen.run = () => new Promise(() => {})
    expect((await ask()).checks.second).toBe('failed')
    expect(seen.failures).toEqual([['second', expect.objectContaining({ fault: 'TimeoutError' })]])
  })

  test('looks once for all that ask at once, and for its age', async () => {
    const { seen, ask } = fixture()
    const held = Promise.withResolvers<void>()
    seen.run = () => held.promise
    const asked = Promise.all(Array.from({ length: 50 }, ask))
    held.resolve()
    await asked
    seen.time = 9_999
    await ask()
    expect(seen.runs).toBe(1)
    seen.time = 10_000
    await ask()
    expect(seen.runs).toBe(2)
  })

  test('comes back when what had failed is there again', async () => {
    const { seen, ask } = fixture()
    seen.run = async () => Promise.reject(new Error('down'))
    expect((await ask()).ready).toBe(false)
    seen.time = 10_000
    seen.run = async () => undefined
    expect((await ask()).ready).toBe(true)
  })
})
