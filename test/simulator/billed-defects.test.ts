import { describe, expect, test } from 'vitest'
import { BILL_MUTANTS } from './bill-mutants.ts'
import { simulate } from './simulate.ts'

describe('the model’s own bill shows a gateway that', () => {
  test.each(BILL_MUTANTS)(
    '$name',
    async ({ name, seed }) => {
      const options = ['--first', '--schedules', '40', '--seed', String(seed)]
      const { code, output } = await simulate('run-billed.ts', '--defect', name, ...options)
      expect(output).toMatch(/^seed \d+: \d+ ms: /)
      expect(code).toBe(1)
    },
    60_000,
  )
})
