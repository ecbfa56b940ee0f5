import { describe, expect, test } from 'vitest'
import { MUTANTS } from './mutants.ts'
import { simulate } from './simulate.ts'

/** Each batch runs in a process of its own; the seeds are pinned, so that a failure can be run again. */
const BATCHES = [1, 1_001]
const A_BATCH = 250

describe('under any schedule of instances, faults and time, the limiter keeps what it promises', () => {
  test.each(BATCHES)(
    'in 250 of them, from seed %i',
    async (seed) => {
      const { code, output } = await simulate('run.ts', '--schedules', String(A_BATCH), '--seed', String(seed))
      expect(output).toContain(`${A_BATCH} schedules from seed ${seed}: 0 with violations`)
      expect(code).toBe(0)
      // It would hold for a limiter that admits nobody, or one that never refuses.
      const [, admitted, refused] = /(\d+) requests admitted, (\d+) refused/.exec(output) ?? []
      expect(Number(admitted)).toBeGreaterThan(25_000)
      expect(Number(refused)).toBeGreaterThan(25_000)
    },
    200_000,
  )
})

test('while the policy changes, revisions let through together what the larger allows, once', async () => {
  const { code, output } = await simulate('run.ts', '--revisions', '--schedules', '150', '--seed', '1')
  expect(output).toContain('150 schedules from seed 1: 0 with violations')
  expect(code).toBe(0)
  const [, admitted, refused] = /(\d+) requests admitted, (\d+) refused/.exec(output) ?? []
  const [, changes] = /(\d+) changes of policy/.exec(output) ?? []
  expect(Number(admitted)).toBeGreaterThan(50_000)
  expect(Number(refused)).toBeGreaterThan(50_000)
  expect(Number(changes)).toBeGreaterThan(5_000)
}, 200_000)

describe('the simulator notices a limiter that', () => {
  test.each(MUTANTS)(
    '$name',
    async ({ name, seed, schedules = 40, revisions }) => {
      const options = ['--first', '--schedules', String(schedules), '--seed', String(seed)]
      if (revisions) options.push('--revisions')
      const { code, output } = await simulate('run.ts', '--defect', name, ...options)
      expect(output).toMatch(/^seed \d+: \d+ ms: /)
      expect(code).toBe(1)
    },
    60_000,
  )

  test('writes though the row has changed, in a store that lets it', async () => {
    const { code } = await simulate('run.ts', '--unconditional', '--first', '--schedules', '20', '--seed', '1')
    expect(code).toBe(1)
  })
})
