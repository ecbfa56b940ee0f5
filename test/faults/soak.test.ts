import { expect, inject, test } from 'vitest'
import { soak } from './soak/soak.ts'

/* `npm run soak` in a few seconds: too few to judge the memory by. */

test('under load, with faults of all kinds and callers who leave, what is charged is what the targets have counted', async () => {
  const soaked = await soak({ storage: inject('azurite'), seconds: 4, seed: 18 })
  expect(soaked.violations).toEqual([])
  expect(soaked.charged).toEqual(soaked.counted)
  expect(soaked.totals).toEqual({
    lines: soaked.totals.lines,
    budgets: soaked.totals.lines,
    ledger: soaked.totals.lines,
  })
  // It would hold for a host that answers nobody, and for targets that never fail.
  expect(soaked.answered).toBeGreaterThan(soaked.requests / 2)
  expect(soaked.refused + soaked.broken).toBeGreaterThan(3)
  expect(soaked.calls).toBeGreaterThan(soaked.requests / 2)
}, 120_000)
