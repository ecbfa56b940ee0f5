import { mkdtempSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { showPrices } from './prices.ts'

const DAY_MS = 86_400_000
/** 10 days after the price book, and 70. */
const SOON = Date.parse('2026-10-03')
const LATE = Date.parse('2026-12-02')
const POLICY = `
models:
  mine:
    targets: [{openai: {model: a}}]
    price: {input: 1.25, output: 10, above: {tokens: 1000, input: 2x}, tiers: {flex: 0.5}, zone: 1.1, tools: {web_search: 0.01}}
  listed:
    targets: [{openai: {model: b}}]
    price: {like: openai/gpt-5-mini}
  free: {targets: [{openai: {model: c}}]}
`

function shownAt(now: number, options = {}, text = POLICY): Promise<string> {
  const root = mkdtempSync(join(tmpdir(), 'prices-'))
  const file = join(root, 'tollgate.policy.yaml')
  writeFileSync(file, text)
  const changed = new Date(SOON - 2 * DAY_MS)
  utimesSync(file, changed, changed)
  return showPrices(options, { root, env: {} }, now)
}

test('each model’s price, its source and its age are shown', async () => {
  const text = await shownAt(SOON)
  const line = (model: string) => text.split('\n').find((each) => each.startsWith(`${model} `)) ?? ''
  expect(line('mine').split(/ {2,}/)).toEqual([
    'mine',
    '1.25',
    '1.25',
    '10',
    'above 1000 tokens: input 2.5, flex 0.5x, zone 1.1x, web_search 0.01 a call',
    'tollgate.policy.yaml',
    '2 days',
  ])
  expect(line('listed')).toMatch(/^listed +0\.25 +0\.025 +2 .*openai\/gpt-5-mini, price book of 2026-09-23 +10 days$/)
  expect(line('free')).toMatch(/^free +no price$/)
  expect(text).toContain('refused where a limit on money holds: free, default.')
  expect(text).not.toContain('WARNING')
})

test('those older than 60 days are warned of', async () => {
  expect(await shownAt(LATE)).toContain('WARNING: older than 60 days: mine, listed. ')
})

test('a program reads the same', async () => {
  const { book, models } = JSON.parse(await shownAt(SOON, { json: true }, `unpriced: worst${POLICY}`))
  expect(book).toEqual({ date: '2026-09-23', source: expect.stringContaining('@pydantic/genai-prices') })
  expect(models).toMatchObject([
    { model: 'mine', source: 'tollgate.policy.yaml', ageDays: 2 },
    { model: 'listed', ageDays: 10 },
    { model: 'free', source: 'the highest of any model (unpriced: worst)' },
    { model: 'default' },
  ])
})
