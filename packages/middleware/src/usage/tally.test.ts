import { expect, test } from 'vitest'
import { finishedRequest, miss } from '../../../../test/support/finished-request.ts'
import { usageRow } from './row.ts'
import { shadowSums } from './shadow-sums.ts'
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

test('what a shadow revision would have refused survives each roll-up, by consumer, model and limit', () => {
  const judged = (consumer: string, wouldRefuse?: string) => ({
    id: '',
    ...usageRow(finishedRequest({ facts: { ...miss(5), consumer, shadow: 'r', ...(wouldRefuse && { wouldRefuse }) } })),
  })
  const tally = newTally()
  for (const why of [undefined, 'insufficient_quota usd', 'insufficient_quota usd', 'model_not_allowed', 'unknown']) {
    addRow(tally, judged('alice', why))
  }
  addRow(tally, judged('bob', 'rate_limit_exceeded requests:a model'))
  // Not judged by any.
  addRow(tally, { id: '', ...usageRow(finishedRequest({ facts: miss(5) })) })
  const all = newTally()
  addTally(all, tallyOf(tallyJson(tally)))
  addTally(all, tallyOf(tallyJson(tally)))
  const { rows, total } = shadowSums({ by: 'consumer' }, all)
  const [bobs] = shadowSums({ by: 'consumer', consumer: 'bob' }, all).rows
  expect(rows[0]).toEqual({
    name: 'alice',
    judged: 10,
    wouldRefuse: 6,
    unknown: 2,
    refusals: [
      { code: 'insufficient_quota', limit: 'usd', requests: 4 },
      { code: 'model_not_allowed', requests: 2 },
    ],
  })
  expect(bobs?.refusals).toEqual([{ code: 'rate_limit_exceeded', limit: 'requests:a model', requests: 2 }])
  expect(total).toMatchObject({ judged: 12, wouldRefuse: 8, unknown: 2 })
})
