import { describe, expect, test } from 'vitest'
import { ROUTED_MUTANTS } from './routed-mutants.ts'
import { simulate } from './simulate.ts'

describe('targets that know who asked them, and what they took, show a gateway that', () => {
  test.each(ROUTED_MUTANTS)(
    '$name',
    async ({ name, seed }) => {
      const options = ['--first', '--schedules', '600', '--seed', String(seed)]
      const { code, output } = await simulate('run-routed.ts', '--defect', name, ...options)
      expect(output).toMatch(/^seed \d+: \d+ ms: /)
      expect(code).toBe(1)
    },
    60_000,
  )
})
