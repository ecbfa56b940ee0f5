import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BOOK_DATE, BOOK_NAMES, resolvePolicy } from '@tollgate/middleware'
import { expect, test } from 'vitest'
import { type PricesOptions, showPrices } from './prices.ts'

const DAY_MS = 86_400_000
/** So many days after the price book. */
const daysLater = (days: number) => Date.parse(BOOK_DATE) + days * DAY_MS
const POLICY = `
models:
  mine:
    targets: [{openai: {model: a}}]
    price:
      input: 1.25
      output: 10
      above: {tokens: 1000, input: 2x, output: 1.5x}
      tiers: {flex: 0.5, priority: {input: 3, output: 20}}
      zone: 1.1
      tools: {web_search: 0.01}
  listed:
    targets: [{openai: {model: b}}]
    price: {like: openai/gpt-5-mini}
  listed-too:
    targets: [{openai: {model: b}}]
    price: {like: azure/gpt-5-mini, output: 3}
  written:
    targets: [{openai: {model: b}}]
    price: {like: openai/gpt-5-mini, input: 1, cachedInput: 1, output: 2, tools: {web_search: 0.02}}
  free: {targets: [{openai: {model: c}}]}
`

function shown(days: number, options: PricesOptions = {}, text = POLICY): Promise<string> {
  const root = mkdtempSync(join(tmpdir(), 'prices-'))
  writeFileSync(join(root, 'tollgate.policy.yaml'), text)
  return showPrices(options, { root, env: {} }, daysLater(days))
}

test('each model’s price, its source, and the age of one from the book are shown', async () => {
  const text = await shown(10)
  const line = (model: string) => text.split('\n').find((each) => each.startsWith(`${model} `)) ?? ''
  expect(line('mine').split(/ {2,}/)).toEqual([
    'mine',
    '1.25',
    '1.25',
    '10',
    'above 1000 tokens input 2.5, output 15, cachedInput 2.5; flex 0.5x; priority input 3, output 20, cachedInput 3; zone 1.1x; web_search 0.01 a call',
    'tollgate.policy.yaml',
  ])
  expect(line('listed')).toMatch(
    new RegExp(`^listed +0\\.25 +0\\.025 +2 .*openai/gpt-5-mini, price book of ${BOOK_DATE} +10 days$`),
  )
  expect(line('free')).toMatch(/^free +no price$/)
  expect(text).toContain('US dollars per million tokens.')
  expect(text).toContain('refused where a limit on money holds: free, default.')
})

const SEVERAL = `
models:
  chat:
    targets:
      - {azure: {endpoint: {env: OPENAI_ENDPOINT}, deployment: ptu}, ptu: true}
      - {azure: {endpoint: {env: OPENAI_ENDPOINT}, deployment: gpt}, priority: 2, weight: 90, zone: eu}
      - {openai: {model: gpt}, priority: 2, weight: 10}
      - {openai: {model: old}, weight: 0}
    price: {input: 1, output: 2, zone: 1.1, tools: {web_search: 0.01}}
  one: {targets: [{openai: {model: one}}], price: {input: 1, output: 2}}
  zoned: {targets: [{openai: {model: zoned}, zone: us}], price: {input: 1, output: 2}}
  also: {alias: chat}
  ab: {split: {also: 90, one: 10}}
routes: {generate: {model: also}}
`

test('a model’s targets are shown each at its own price, and the most that a request costs', async () => {
  const text = await shown(10, {}, SEVERAL)
  const [models = '', targets = '', , virtual = ''] = text.split('\n\n')
  const rows = (table: string) => table.split('\n').map((row) => row.split(/ {2,}/))
  expect(rows(models).map(([name]) => name)).toEqual(['MODEL', 'chat', 'one', 'zoned', 'default'])
  const tools = 'web_search 0.01 a call'
  expect(rows(targets)).toEqual([
    ['TARGET OF', 'IS', 'PRIORITY', 'WEIGHT', 'ZONE', 'INPUT', 'CACHED', 'OUTPUT', 'AND'],
    ['chat', 'azure ptu', '1', '1', '0', '0', tools],
    ['chat', 'spilling over', '1', '1', '2', tools],
    ['chat', 'azure gpt', '2', '90', 'eu', '1', '1', '2', `zone 1.1x; ${tools}`],
    ['chat', 'openai gpt', '2', '10', '1', '1', '2', tools],
    ['chat', 'the dearest', '1', '1', '2', `zone 1.1x; ${tools}`],
    ['zoned', 'openai zoned', '1', '1', 'us', '1', '1', '2'],
  ])
  expect(rows(virtual)).toEqual([
    ['AT THE PRICE OF WHAT SERVES', 'IS'],
    ['also', 'an alias of chat'],
    ['ab', 'a split of chat (90) and one (10) by consumer'],
  ])
})

test('a program reads the targets and what is picked too', async () => {
  const { models, virtual } = JSON.parse(await shown(10, { json: true }, SEVERAL))
  const [chat, one] = models
  const usdPerMillionTokens = { input: 1, cachedInput: 1, output: 2 }
  const usdPerCall = { web_search: 0.01 }
  expect(chat.targets).toEqual([
    {
      kind: 'azure',
      servedAs: 'ptu',
      priority: 1,
      weight: 1,
      ptu: true,
      usdPerMillionTokens: { input: 0, output: 0 },
      usdPerCall,
      spillover: { usdPerMillionTokens, usdPerCall },
    },
    {
      kind: 'azure',
      servedAs: 'gpt',
      priority: 2,
      weight: 90,
      inZone: 'eu',
      usdPerMillionTokens,
      zone: 1.1,
      usdPerCall,
    },
    { kind: 'openai', servedAs: 'gpt', priority: 2, weight: 10, usdPerMillionTokens, usdPerCall },
  ])
  expect(chat.dearest).toEqual({ usdPerMillionTokens, zone: 1.1, usdPerCall })
  expect(one).not.toHaveProperty('targets')
  expect(virtual).toEqual([
    { model: 'also', kind: 'alias', picks: ['chat'] },
    { model: 'ab', kind: 'split', picks: ['chat', 'one'] },
  ])
})

test('a book that is older than 60 days is warned of once, with what to do, for the models that go by it', async () => {
  expect(await shown(60)).not.toContain('WARNING')
  const warnings = (await shown(65)).split('\n').filter((line) => line.startsWith('WARNING'))
  expect(warnings).toEqual([
    `WARNING: the price book is of ${BOOK_DATE}, 65 days old, and prices listed and listed-too. Compare with the provider's list: ` +
      'a newer Tollgate has a newer book, and what is written under models.<name>.price goes before it.',
  ])
  const own = 'models: {mine: {targets: [{openai: {model: a}}], price: {input: 1, output: 2}}}'
  expect(await shown(1_000, {}, own)).not.toContain('WARNING')
})

test('a program reads the same, in figures that name their unit', async () => {
  const { book, models } = JSON.parse(await shown(10, { json: true }, `unpriced: worst${POLICY}`))
  expect(book).toEqual({ date: BOOK_DATE, source: expect.stringContaining('@pydantic/genai-prices'), ageDays: 10 })
  expect(models[0]).toEqual({
    model: 'mine',
    usdPerMillionTokens: { input: 1.25, cachedInput: 1.25, output: 10 },
    above: { tokens: 1_000, usdPerMillionTokens: { input: 2.5, cachedInput: 2.5, output: 15 } },
    tiers: { flex: 0.5, priority: { usdPerMillionTokens: { input: 3, cachedInput: 3, output: 20 } } },
    zone: 1.1,
    usdPerCall: { web_search: 0.01 },
    source: 'tollgate.policy.yaml',
  })
  expect(models.slice(1)).toMatchObject([
    { model: 'listed', ageDays: 10, usdPerMillionTokens: { input: 0.25, cachedInput: 0.025, output: 2 } },
    { model: 'listed-too', ageDays: 10 },
    { model: 'written', source: 'tollgate.policy.yaml' },
    { model: 'free', source: 'the highest of any model (unpriced: worst)' },
    { model: 'default' },
  ])
})

test.each([
  ['gpt-5-mini', ['azure/gpt-5-mini', 'openai/gpt-5-mini']],
  ['OpenAI/GPT-5-M', ['openai/gpt-5-mini']],
  ['azure/gpt-5-m*', ['azure/gpt-5-mini']],
  ['*/gpt-5-?ini', []],
])('the book has, for %s, names that a policy takes, and what they cost', async (pattern, names) => {
  const text = await shown(65, { book: pattern }).catch(String)
  if (names.length === 0) return expect(text).toContain(`no name with '${pattern}' in it.`)
  const [table = '', unit = ''] = text.split('\n\n')
  const rows = table.split('\n').slice(1)
  expect(rows.map((row) => row.split(/ {2,}/).slice(0, 4))).toEqual(names.map((name) => [name, '0.25', '0.025', '2']))
  expect(unit).toMatch(
    new RegExp(`^US dollars per million tokens, of ${BOOK_DATE} \\(65 days ago\\), from @pydantic/genai-prices `),
  )
})

test('all of the book is what a policy takes, at the price that is shown', async () => {
  const { models } = JSON.parse(await shown(1, { book: true, json: true })) as {
    models: { like: string; usdPerMillionTokens: Record<string, number> }[]
  }
  expect(models.map(({ like }) => like).toSorted()).toEqual([...BOOK_NAMES].toSorted())
  const document = {
    models: Object.fromEntries(
      models.map(({ like }, index) => [`m${index}`, { targets: [{ openai: { model: 'a' } }], price: { like } }]),
    ),
  }
  const bounds = { env: {}, readable: [], hosts: ['api.openai.com'] }
  const resolved = resolvePolicy(document, { source: 'a test', bounds, defaultTarget: undefined })
  for (const [index, { usdPerMillionTokens }] of models.entries()) {
    const price = resolved.models.get(`m${index}`)?.targets[0].price
    expect(Object.entries(price?.rates ?? {})).toEqual(
      Object.entries(usdPerMillionTokens).map(([kind, usd]) => [kind, Math.round(usd * 1e6)]),
    )
  }
})

test('a pattern that no name has is refused, with those that were meant', async () => {
  await expect(shown(1, { book: 'openai/gpt5-mni' })).rejects.toThrow(
    "no name with 'openai/gpt5-mni' in it. Did you mean openai/gpt-5-mini?",
  )
})
