import { expect, test } from 'vitest'
import { finishedRequest, miss } from '../../../../test/support/finished-request.ts'
import { usageRow } from './row.ts'
import { addRow, addTally, modelFigures, newTally, tallyJson, tallyOf } from './tally.ts'

/** An answer that told tokens of a kind that no other answer told. */
function answered(kind: string) {
  const facts = miss(5)
  const usage = { input: 10, cachedInput: 0, output: 7, [kind]: 3 }
  const attempts = (facts.attempts ?? []).map((attempt) => ({ ...attempt, usage }))
  return usageRow(finishedRequest({ facts: { ...facts, usage, attempts } }))
}

test('kinds of tokens that answers make up grow no sum without a bound, and none is lost', () => {
  const halves = [newTally(), newTally()] as const
  for (let index = 0; index < 1_000; index += 1) {
    addRow(halves[index % 2] as (typeof halves)[0], { id: '', ...answered(`kind${index}`) })
  }
  const all = newTally()
  for (const half of halves) addTally(all, tallyOf(tallyJson(half)))
  for (const tally of [...halves, all]) {
    const [figures] = modelFigures(tally)
    const sums = [figures?.sums, figures?.targets['azure-1']?.sums].filter((each) => each !== undefined)
    expect(sums).toHaveLength(2)
    for (const { tokens } of sums) {
      const { input, cachedInput, output, ...kinds } = tokens
      expect([input, cachedInput, output]).toEqual([10 * tally.rows, 0, 7 * tally.rows])
      expect(Object.keys(kinds).length).toBeLessThanOrEqual(33)
      expect(Object.values(kinds).reduce((sum, count) => sum + count, 0)).toBe(3 * tally.rows)
      expect(kinds.other).toBeGreaterThan(0)
    }
  }
  expect(all.rows).toBe(1_000)
})
