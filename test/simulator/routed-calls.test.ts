import { describe, expect, test } from 'vitest'
import { simulate } from './simulate.ts'

const SCHEDULES = 1_500

describe('whatever targets do, for whatever models, plans and requests', () => {
  test.each([1, 100_001])(
    'nothing leaves its zones, is charged for twice or asked too often, or stays reserved, from seed %i',
    async (seed) => {
      const { code, output } = await simulate('run-routed.ts', '--schedules', `${SCHEDULES}`, '--seed', `${seed}`)
      expect(output).toContain(`${SCHEDULES} schedules from seed ${seed}: 0 with violations`)
      expect(code).toBe(0)
      // It would hold for a gateway that asks nothing, and for targets that never fail.
      const [, answered, hits, zoned, again] =
        /(\d+) requests answered, (\d+) of them .* (\d+) of them for their zones; .* (\d+) of them made/.exec(output) ??
        []
      expect(Number(answered)).toBeGreaterThan(SCHEDULES)
      expect(Number(hits)).toBeGreaterThan(SCHEDULES / 50)
      expect(Number(zoned)).toBeGreaterThan(SCHEDULES / 5)
      expect(Number(again)).toBeGreaterThan(SCHEDULES / 2)
    },
    120_000,
  )
})
