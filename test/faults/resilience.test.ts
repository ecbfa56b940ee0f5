import { beforeAll, describe, expect, test } from 'vitest'
import { cells, KIND_NAMES, type Outcome, runMatrix, SETTINGS, type Seen } from './resilience/matrix.ts'
import { tableOf, tableOnPage } from './resilience/page.ts'
import { BILL } from './resilience/played-target.ts'
import { violations } from './resilience/rules.ts'

/* Whatever a model's server does: what its callers get, what they pay, and what is stored. */

let seen: readonly Seen[]
beforeAll(async () => {
  seen = await runMatrix(cells(KIND_NAMES))
}, 120_000)

test('no rule is broken, whatever fault a target has', () => {
  expect(seen.flatMap(violations)).toEqual([])
})

test('targets of all kinds fare the same', () => {
  const ofKind = (kind: string) => tableOf(seen.filter(({ cell }) => cell.kind === kind))
  for (const kind of KIND_NAMES) expect(ofKind(kind)).toBe(ofKind(KIND_NAMES[0] ?? ''))
})

test('docs/resilience.md shows what this run has seen', () => {
  expect(tableOnPage()).toBe(tableOf(seen))
})

describe('the rules see', () => {
  const failed = () => find({ name: '500', setting: 'three, all sick' })
  const find = ({ name, setting, streamed = false }: { name: string; setting: string; streamed?: boolean }) => {
    const found = seen.find(
      ({ cell }) => cell.fault.name === name && cell.setting === setting && cell.streamed === streamed,
    )
    if (found === undefined) throw new Error(`There is no cell ${name}, ${setting}`)
    return found
  }
  const changed = (cell: Seen, change: Partial<Outcome>) => violations({ ...cell, first: { ...cell.first, ...change } })

  test.each<[string, () => string[], RegExp]>([
    ['a charge for nothing', () => changed(failed(), { charged: failed().first.charged + 1 }), /were charged/],
    ['a call that was not charged', () => changed(failed(), { charged: 0 }), /were charged/],
    ['one attempt too many', () => changed(failed(), { attempts: [2, 1, 1] }), /attempts were made/],
    ['a call that goes on', () => changed(failed(), { open: 1 }), /nobody waits for/],
    ['a failure that is stored', () => changed(failed(), { stored: true }), /is stored/],
    ['an answer from nowhere', () => changed(failed(), { status: 200, answer: 'whole' }), /200/],
    ['one that takes too long', () => changed(failed(), { ms: 60_000 }), /it took/],
    [
      'a healthy target that was not asked',
      () => changed(find({ name: '500', setting: SETTINGS[1] }), { status: 502, answer: 'none', stored: false }),
      /could answer/,
    ],
    [
      'another call after the first byte',
      () => {
        const cut = find({ name: 'connection cut within the answer', setting: SETTINGS[1], streamed: true })
        const { calls, charged, reserved } = cut.first
        const again = {
          calls: [...calls.slice(0, 2), ['told'] as const],
          charged: reserved + BILL,
          attempts: [1, 0, 1],
        }
        expect(charged).toBe(reserved)
        return changed(cut, again)
      },
      /an answer had begun/,
    ],
    [
      'a wait that was not told',
      () => changed(find({ name: '503 with `Retry-After`', setting: 'one' }), { retryAfterMs: undefined }),
      /come back/,
    ],
  ])('%s', (_what, violated, words) => {
    expect(violated().join('\n')).toMatch(words)
  })
})
