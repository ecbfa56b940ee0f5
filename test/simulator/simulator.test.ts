import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { MUTANTS, plant } from './mutants.ts'
import { simulate } from './simulate.ts'

/** Each batch runs in a process of its own; the seeds are pinned, so that a failure can be run again. */
const BATCHES = [1, 501, 1_001, 1_501]
const A_BATCH = 125

describe('under any schedule of instances, faults and time, the limiter keeps what it promises', () => {
  test.each(BATCHES)(
    'in 125 of them, from seed %i',
    async (seed) => {
      const { code, output } = await simulate('run.ts', '--schedules', String(A_BATCH), '--seed', String(seed))
      expect(output).toContain(`${A_BATCH} schedules from seed ${seed}: 0 with violations`)
      expect(code).toBe(0)
      // It would hold for a limiter that admits nobody, or one that never refuses.
      const [, admitted, refused] = /(\d+) requests admitted, (\d+) refused/.exec(output) ?? []
      expect(Number(admitted)).toBeGreaterThan(10_000)
      expect(Number(refused)).toBeGreaterThan(10_000)
    },
    140_000,
  )
})

describe('the simulator notices a limiter that', () => {
  test.each(MUTANTS)(
    '$name',
    async (mutant) => {
      const folder = plant(mutant)
      try {
        const root = join(folder, 'src')
        const { code, output } = await simulate(
          'run.ts',
          '--root',
          root,
          '--first',
          '--schedules',
          '40',
          '--seed',
          String(mutant.seed),
        )
        expect(output).toMatch(/^seed \d+: \d+ ms: /)
        expect(code).toBe(1)
      } finally {
        rmSync(folder, { recursive: true })
      }
    },
    60_000,
  )

  test('writes though the row has changed, in a store that lets it', async () => {
    const { code } = await simulate('run.ts', '--unconditional', '--first', '--schedules', '20', '--seed', '1')
    expect(code).toBe(1)
  })
})
