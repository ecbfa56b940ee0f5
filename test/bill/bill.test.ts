import { readFileSync } from 'node:fs'
import { chat, costOfAnswer, embeddings, responses } from '@tollgate/middleware'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { BillCase, Json } from './bill-case.ts'
import { ceiling, decimal, decimalText, isSame, plus, times, whole } from './fraction.ts'
import { FILES, generated, pathOf, textOf } from './generate.ts'
import { policyPrice } from './policy-price.ts'
import { settlementOf } from './settlement.ts'
import { sheetNames, sheetOf } from './sheet.ts'

const casesIn = (file: string): readonly BillCase[] => JSON.parse(readFileSync(pathOf(file), 'utf8'))
const all = FILES.flatMap(casesIn)

describe('the fixtures', () => {
  test.each(FILES)('%s.json is what the generator gives', (file) => {
    // Not by `toBe`: its message would be half a megabyte long.
    const isSameText = readFileSync(pathOf(file), 'utf8') === textOf(generated().get(file) ?? [])
    expect(isSameText, 'run node test/bill/generate.ts').toBe(true)
  })

  test('are a thousand, of every price sheet, and each has its own id', () => {
    expect(all).toHaveLength(1_000)
    expect(new Set(all.map(({ id }) => id)).size).toBe(1_000)
    expect(new Set(all.map(({ sheet }) => sheet))).toEqual(new Set(sheetNames()))
  })

  test('have the sheet’s price, in the policy’s grammar', () => {
    for (const { sheet, price } of all) expect(price).toEqual(policyPrice(sheetOf(sheet)))
  })

  test('say where each price is from, and whether it was seen there', () => {
    for (const name of sheetNames()) {
      const { sources } = sheetOf(name)
      expect(sources.length, name).toBeGreaterThan(0)
      for (const { url, read, verified } of sources) {
        expect([new URL(url).protocol, /^\d{4}-\d{2}-\d{2}$/.test(read)]).toEqual(['https:', true])
        expect(['page', 'transcription', 'secondary']).toContain(verified)
      }
    }
  })
})

describe('the second reckoning', () => {
  test('imports nothing of the gateway', () => {
    for (const file of ['reckoning', 'fraction', 'sheet', 'bill-case', 'policy-price', 'generate']) {
      const imports = readFileSync(`${import.meta.dirname}/${file}.ts`, 'utf8').match(/from '([^']+)'/g) ?? []
      for (const each of imports) expect(each).toMatch(/from '(?:node:|\.\/|\.\.\/simulator\/random\.ts)/)
    }
  })

  test('counts in fractions that are exact', () => {
    const parts = fc.bigInt({ min: 0n, max: 10n ** 24n })
    fc.assert(
      fc.property(parts, parts, fc.nat({ max: 1e9 }), (a, b, tokens) => {
        const [x, y] = [decimal(`${a}.5`), decimal(`0.${b}`)]
        expect(isSame(times(plus(x, y), whole(tokens)), plus(times(x, whole(tokens)), times(whole(tokens), y)))).toBe(
          true,
        )
        expect(decimalText(x)).toBe(`${a}.5`)
        expect(ceiling(x)).toBe(a + 1n)
      }),
    )
  })
})

const OPERATIONS = { chat, embeddings, responses }
const isTold = ({ answer }: BillCase) =>
  answer.status === 200 && typeof answer.body.usage === 'object' && answer.body.usage !== null

/** Those that differ, by how many nano-dollars: as few as fit into a message. */
async function differences(
  cases: readonly BillCase[],
  costOf: (each: BillCase) => number | undefined | Promise<number | undefined>,
) {
  const differing: string[] = []
  for (const each of cases) {
    const cost = (await costOf(each)) ?? Number.NaN
    if (cost !== each.nanoUsd) differing.push(`${each.id} (${each.about}): ${cost} for ${each.nanoUsd}`)
  }
  return differing.slice(0, 20)
}

/** The cost of a case by its answer. */
function costByAnswer({ api, price, target, asked, answer: { body, headers } }: BillCase): number | undefined {
  return costOfAnswer({ operation: OPERATIONS[api], price, target, request: asked, answer: body, headers })
}

const withBody = (each: BillCase, change: Json): BillCase => ({
  ...each,
  answer: { ...each.answer, body: { ...each.answer.body, ...change } },
})
const withUsage = (each: BillCase, change: Json) =>
  withBody(each, { usage: { ...Object(each.answer.body.usage), ...change } })
const withPrice = (each: BillCase, change: Json): BillCase => ({ ...each, price: { ...each.price, ...change } })

describe('the gateway differs by 0 nano-dollars', () => {
  test.each(FILES.filter((file) => casesIn(file).some(isTold)))('in what an answer costs: %s.json', async (file) => {
    expect(await differences(casesIn(file).filter(isTold), costByAnswer)).toEqual([])
  })

  test.each(FILES)('in what a limit is charged: %s.json', async (file) => {
    expect(
      await differences(casesIn(file), async (each) => (await settlementOf(each, OPERATIONS[each.api])).charged),
    ).toEqual([])
  })
})

describe('the fixtures notice a reckoning that', () => {
  test.each<[string, (each: BillCase) => BillCase]>([
    [
      'ignores the tier',
      (each) => withBody({ ...each, asked: { ...each.asked, service_tier: undefined } }, { service_tier: undefined }),
    ],
    ['goes by the tier that was asked for', (each) => withBody(each, { service_tier: each.asked.service_tier })],
    [
      'takes cached, written and heard tokens for plain ones',
      (each) =>
        withUsage(each, {
          prompt_tokens_details: undefined,
          input_tokens_details: undefined,
          prompt_cache_hit_tokens: undefined,
        }),
    ],
    ['takes spoken tokens for plain ones', (each) => withUsage(each, { completion_tokens_details: undefined })],
    [
      'takes long writes for short ones',
      (each) => ({
        ...each,
        price: {
          ...each.price,
          ...(each.price.cacheWriteLong === undefined ? {} : { cacheWriteLong: Number(each.price.cacheWrite) }),
        },
      }),
    ],
    ['ignores what only the total counts', (each) => withUsage(each, { total_tokens: undefined })],
    ['knows no threshold', (each) => withPrice(each, { above: undefined })],
    ['knows no zone', (each) => ({ ...each, target: { ...each.target, zone: undefined } }) as unknown as BillCase],
    ['forgets hosted tools', (each) => withBody(each, { tool_usage: undefined, output: undefined })],
    [
      'bills what is provisioned',
      (each) => ({ ...each, target: { ...each.target, ptu: undefined } }) as unknown as BillCase,
    ],
    ['does not see a spill-over', (each) => ({ ...each, answer: { ...each.answer, headers: {} } })],
  ])('%s', (_what, change) => {
    const noticed = all.filter(isTold).filter((each) => costByAnswer(change(each)) !== each.nanoUsd)
    expect(noticed.length).toBeGreaterThanOrEqual(5)
  })
})
