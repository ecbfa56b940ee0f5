import { describe, expect, test } from 'vitest'
import { simulate } from './simulate.ts'

const SCHEDULES = 40

describe('whatever callers set, in any schedule of crashes, stalls and a failing store', () => {
  test.each([1, 1_001])(
    'no model bills more than the ten dollars of its consumer, from seed %i',
    async (seed) => {
      const { code, output } = await simulate('run-billed.ts', '--schedules', `${SCHEDULES}`, '--seed', `${seed}`)
      expect(output).toContain(`${SCHEDULES} schedules from seed ${seed}: 0 with violations`)
      expect(code).toBe(0)
      // It would hold for a gateway that admits nobody, and for callers who never reach their budget.
      const [, answered, refused, billed] =
        /(\d+) calls answered, (\d+) refused, .* ([\d.]+) dollars billed/.exec(output) ?? []
      expect(Number(answered)).toBeGreaterThan(1_500)
      expect(Number(refused)).toBeGreaterThan(300)
      expect(Number(billed)).toBeGreaterThan(SCHEDULES * 3)
    },
    140_000,
  )
})

test('nor where its price names no cache, and what they ask to be written there is billed', async () => {
  const options = ['--old-price', '--schedules', `${SCHEDULES}`, '--seed', '90000']
  const { code, output } = await simulate('run-billed.ts', ...options)
  expect(output).toContain(`${SCHEDULES} schedules from seed 90000: 0 with violations`)
  expect(code).toBe(0)
  const [, billed] = /([\d.]+) dollars billed/.exec(output) ?? []
  expect(Number(billed)).toBeGreaterThan(SCHEDULES * 2)
}, 140_000)
