import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { replyText, request } from '../../../../test/support/base-context.ts'
import { unique } from '../../../../test/support/consumers.ts'
import { gatewayOver } from '../../../../test/support/gateway.ts'
import { answering, failing, startUpstream, type Upstream } from '../../../../test/support/upstream.ts'
import { issueKey, parseKey, reissueKey, type Scope } from '../auth/index.ts'
import { type FinishedRequest, fromIterable } from '../pipeline/index.ts'
import { type Narrowing, type Policy, resolvePolicy } from '../policy/index.ts'
import { chatCompletions, generate, openaiEmbeddings, openaiResponses, type Surface } from '../surfaces/index.ts'
import { trace } from '../telemetry/index.ts'
import { neverRetry } from '../upstream/index.ts'
import type { Gateway } from './index.ts'

/* What a key narrows, on the whole way before real servers: a key never does more than its consumer's plan. */

const PLACES = ['small', 'large', 'backup', 'eu', 'us'] as const
type Place = (typeof PLACES)[number]

let servers: Readonly<Record<Place, Upstream>>
let document: Record<string, unknown>
let policy: Policy
let gateway: Gateway

const resolve = (value: object) =>
  resolvePolicy(value, {
    source: 'a test',
    bounds: { env: {}, readable: [], hosts: ['127.0.0.1'] },
    defaultTarget: undefined,
  })

beforeAll(async () => {
  const started = await Promise.all(PLACES.map(async (place) => [place, await startUpstream()] as const))
  servers = Object.fromEntries(started) as Record<Place, Upstream>
  const at = (place: Place, more: object = {}) => ({
    openai: { baseUrl: servers[place].baseUrl, model: `${place}-1` },
    ...more,
  })
  const price = { input: 1, output: 2 }
  document = {
    models: {
      small: { targets: [at('small')], price },
      large: { targets: [at('large')], price, fallback: 'backup' },
      backup: { targets: [at('backup')], price },
      free: { targets: [at('small')] },
      zoned: { targets: [at('us', { zone: 'us', priority: 1 }), at('eu', { zone: 'eu', priority: 2 })], price },
      fast: { alias: 'small' },
      ab: { split: { small: 50, large: 50 }, by: 'request' },
      auto: { route: { small: 'small', large: 'large', rules: [{ tools: true }] } },
    },
    plans: {
      all: { limits: [] },
      some: { limits: [], models: ['small', 'large', 'ab'] },
      eu: { limits: [], zones: ['eu'] },
    },
    routes: Object.fromEntries(
      ['generate', 'chat', 'responses', 'embeddings'].map((route) => [
        route,
        { model: 'small', cache: { scope: 'shared' } },
      ]),
    ),
  }
  policy = resolve(document)
  gateway = gatewayOver(policy, { retry: neverRetry })
})
afterAll(async () => {
  await gateway.close()
  await Promise.all(Object.values(servers).map((server) => server.close()))
})
beforeEach(() => {
  for (const server of Object.values(servers)) {
    server.calls.length = 0
    server.reply = answering()
  }
})

async function keyFor(grant: Narrowing | undefined, plan = 'all', over = gateway): Promise<string> {
  const consumer = unique('c')
  const options = { consumer, plan, defaultPlan: undefined, plans: [plan], now: Date.now(), grant }
  return (await issueKey(over.consumers, options)).key
}

interface Sending {
  readonly surface?: Surface
  readonly headers?: Record<string, string>
  readonly over?: Gateway
}

async function send(key: string, fields: object, { surface = chatCompletions, headers, over = gateway }: Sending = {}) {
  const finished: FinishedRequest[] = []
  const entry = trace({
    refuse: surface.refuse,
    handler: () => over.handler(surface),
    finished: (each) => finished.push(each),
  })
  const body = fromIterable([Buffer.from(JSON.stringify(fields))])
  const response = await entry({ ...request, headers: new Headers({ 'x-api-key': key, ...headers }), body }, () => {})
  const text = await replyText(response)
  return {
    status: response.status,
    headers: response.headers,
    text,
    json: JSON.parse(text),
    story: finished[0]?.story.steps,
  }
}

/** The model that served, or what refused. */
async function outcome(key: string, fields: object, sending?: Sending): Promise<string> {
  const { status, headers, json } = await send(key, { ...chat(), ...fields }, sending)
  return status === 200 ? String(headers['x-tollgate-model']) : `${status} ${json.error.code}`
}

const chat = (text = unique('Why?')) => ({ messages: [{ role: 'user', content: text }], max_tokens: 10 })
const TOOLS = [{ type: 'function', function: { name: 'f', parameters: {} } }]

describe('models', () => {
  test.each<[string, object, string, (readonly string[])?]>([
    ['one that it names', { model: 'small' }, 'small'],
    ['its alias', { model: 'fast' }, 'small'],
    ['by an alias that it names', { model: 'small' }, 'small', ['fast']],
    ['one that it does not name', { model: 'large' }, '403 model_not_allowed'],
    ['a split that it does not name', { model: 'ab' }, '403 model_not_allowed'],
    ['a split that it names, with the one part that it may use', { model: 'ab' }, 'small', ['ab', 'small']],
    [
      'a route that it names, with the one size that it may use',
      { model: 'auto', tools: TOOLS },
      'small',
      ['auto', 'small'],
    ],
    ['a split of which it may use nothing', { model: 'ab' }, '403 model_not_allowed', ['ab']],
    ['a name that the policy lacks', { model: 'gone' }, '404 model_not_found', ['gone']],
    ['the route’s own', {}, 'small'],
    ['the route’s own, which it does not name', {}, '403 model_not_allowed', ['large']],
    ['none of an empty list', { model: 'small' }, '403 model_not_allowed', []],
  ])('%s: %j is %s', async (_what, fields, expected, models = ['small']) => {
    const key = await keyFor({ models })
    expect(await outcome(key, fields)).toBe(expected)
    // A dry run says the same.
    const { json } = await send(key, { ...chat(), ...fields }, { headers: { 'x-tollgate-dry-run': 'true' } })
    expect(json.refusal === null ? json.model : `${json.refusal.status} ${json.refusal.code}`).toBe(expected)
  })

  test('of two keys in one request are those of the first that may call, and never those of both together', async () => {
    const consumer = unique('c')
    const make = async (grant: Narrowing, scopes?: readonly Scope[]) => {
      const options = { consumer, plan: 'all', defaultPlan: undefined, plans: ['all'], now: Date.now(), grant }
      return (await issueKey(gateway.consumers, { ...options, ...(scopes && { scopes }) })).key
    }
    const [small, large, embeds] = [
      await make({ models: ['small'] }),
      await make({ models: ['large'] }),
      await make({ routes: ['embeddings'] }),
    ]
    const reads = await make({}, ['read'])
    const both = (first: string, second: string, model: string) =>
      outcome(first, { model }, { headers: { authorization: `Bearer ${second}` } })
    expect([await both(small, large, 'small'), await both(small, large, 'large')]).toEqual([
      'small',
      '403 model_not_allowed',
    ])
    expect([await both(large, small, 'small'), await both(large, small, 'large')]).toEqual([
      '403 model_not_allowed',
      'large',
    ])
    expect(await both(embeds, large, 'large')).toBe('403 route_not_allowed')
    // A key that may not call stands back, and leaves nothing of its own.
    expect([await both(reads, small, 'small'), await both(reads, small, 'large')]).toEqual([
      'small',
      '403 model_not_allowed',
    ])
  })

  test('are those that both the key and the plan allow', async () => {
    const key = await keyFor({ models: ['small', 'backup'] }, 'some')
    expect(await outcome(key, { model: 'small' })).toBe('small')
    expect(await outcome(key, { model: 'large' })).toBe('403 model_not_allowed')
    // In the key's list alone.
    expect(await outcome(key, { model: 'backup' })).toBe('403 model_not_allowed')
    expect((await send(key, { ...chat(), model: 'backup' })).json.error.message).toBe(
      "Your key does not allow the model 'backup'. It allows: small and fast. Use one of these, or ask the operator for a key that allows it.",
    )
  })

  test('a fallback that the key does not name is not asked', async () => {
    servers.large.reply = failing(500)
    expect(await outcome(await keyFor({ models: ['large', 'backup'] }), { model: 'large' })).toBe('backup')
    servers.backup.calls.length = 0
    expect(await outcome(await keyFor({ models: ['large'] }), { model: 'large' })).toMatch(/^502 /)
    expect(servers.backup.calls).toEqual([])
  })

  test('of a key are listed, and no others', async () => {
    const listed = async (key: string) => {
      const entry = trace({ refuse: chatCompletions.refuse, handler: () => gateway.models })
      const url = new URL('http://127.0.0.1/api/v1/models')
      const response = await entry(
        { ...request, method: 'GET', url, headers: new Headers({ 'x-api-key': key }) },
        () => {},
      )
      return JSON.parse(await replyText(response)).data.map(({ id }: { id: string }) => id)
    }
    expect(await listed(await keyFor({ models: ['small', 'auto'] }))).toEqual(['small', 'fast', 'auto'])
    expect(await listed(await keyFor({ models: ['small', 'backup'] }, 'some'))).toEqual(['small', 'fast'])
    expect(await listed(await keyFor({ zones: ['eu'] }))).toEqual(['zoned'])
    expect(await listed(await keyFor({ models: [] }))).toEqual([])
    expect(await listed(await keyFor({ routes: [] }))).toEqual([])
    // Without a price it would be refused each time.
    expect(await listed(await keyFor({ models: ['small', 'free'], budget: { usd: 1, per: 'day' } }))).toEqual([
      'small',
      'fast',
    ])
  })

  test('that are gone from the policy leave the key with none, and not with all', async () => {
    const {
      small: _small,
      fast: _fast,
      ab: _ab,
      auto: _auto,
      free,
      ...models
    } = document.models as Record<string, object>
    const routes = { chat: { model: 'large' } }
    const later = gatewayOver(
      resolve({ ...document, routes, models: { ...models, free }, plans: { all: { limits: [] } } }),
      {
        retry: neverRetry,
      },
    )
    try {
      const key = await keyFor({ models: ['small'] }, 'all', later)
      expect(await outcome(key, { model: 'small' }, { over: later })).toBe('404 model_not_found')
      for (const model of [undefined, 'large', 'free']) {
        expect(await outcome(key, { model }, { over: later })).toBe('403 model_not_allowed')
      }
    } finally {
      await later.close()
    }
  })
})

describe('zones', () => {
  test('keep a key’s requests where it says, though its plan goes further, and never further than its plan', async () => {
    const served = async (zones: readonly string[] | undefined, plan: string) => {
      const { status, headers, json } = await send(await keyFor({ zones }, plan), { ...chat(), model: 'zoned' })
      return status === 200 ? headers['x-tollgate-target'] : json.error.code
    }
    expect(await served(undefined, 'all')).toMatch(/us-1/)
    expect(await served(['eu'], 'all')).toMatch(/eu-1/)
    expect(await served(['us'], 'eu')).toBe('zone_not_allowed')
    expect(await served(['us', 'eu'], 'eu')).toMatch(/eu-1/)
    expect(await served([], 'all')).toBe('zone_not_allowed')
  })

  test('hold for what is stored and shared too: an answer counts as its target’s zone', async () => {
    const body = { ...chat(), model: 'zoned' }
    const [anywhere, eu] = [await keyFor(undefined), await keyFor({ zones: ['eu'] })]
    expect((await send(anywhere, body)).headers['cache-status']).toContain('fwd=miss')
    expect((await send(anywhere, body)).headers['cache-status']).toContain('hit')
    expect(servers.us.calls).toHaveLength(1)
    expect((await send(eu, body)).headers['cache-status']).toContain('fwd=miss')
    expect(servers.eu.calls).toHaveLength(1)
    expect((await send(await keyFor(undefined, 'eu'), body)).headers['cache-status']).toContain('hit')
    // Under way at the same time.
    const together = { ...chat(), model: 'zoned' }
    await Promise.all([send(anywhere, together), send(eu, together), send(anywhere, together), send(eu, together)])
    expect([servers.us.calls.length, servers.eu.calls.length]).toEqual([2, 2])
  })
})

const SURFACES: readonly (readonly [route: string, surface: Surface, body: () => object])[] = [
  ['generate', generate, () => ({ prompt: unique('Why?'), max_tokens: 10 })],
  ['chat', chatCompletions, () => chat()],
  ['responses', openaiResponses, () => ({ input: unique('Why?'), max_output_tokens: 10, store: false })],
  ['embeddings', openaiEmbeddings, () => ({ input: unique('Why?') })],
]

describe('routes', () => {
  test.each(SURFACES)('a key for %s alone is refused on all others with a 403 that names them', async (route) => {
    // It has no answers of the other shapes.
    servers.small.reply = (call, response) => (call.body.messages ? answering() : failing(400))(call, response)
    const key = await keyFor({ routes: [route] })
    for (const [asked, surface, body] of SURFACES) {
      const { status, text, story } = await send(key, body(), { surface })
      if (asked === route) expect(text).not.toContain('does not allow the route')
      else {
        expect([status, text]).toEqual([
          403,
          expect.stringContaining(`Your key does not allow the route '${asked}'. It allows: ${route}.`),
        ])
        expect(story).toContainEqual(expect.objectContaining({ name: 'route', decision: 'route_not_allowed' }))
      }
    }
  })

  test('none of an empty list may be asked', async () => {
    const key = await keyFor({ routes: [] })
    for (const [, surface, body] of SURFACES) expect((await send(key, body(), { surface })).status).toBe(403)
  })
})

test.each(SURFACES)(
  'on %s a narrowed key is refused the models that it does not name',
  async (_route, surface, body) => {
    const key = await keyFor({ models: ['large'] })
    expect(await send(key, { ...body(), model: 'small' }, { surface })).toMatchObject({ status: 403 })
  },
)

describe('a budget of the key’s own', () => {
  /** 11 tokens in and 7 out by the model's word: 25 millionths of a dollar. Reserved is more. */
  const COST = 0.000_025

  test('is spent by this key alone, and told by its name: in headers, refusals and a dry run', async () => {
    const consumer = unique('c')
    const make = async (grant?: Narrowing) =>
      (
        await issueKey(gateway.consumers, {
          consumer,
          plan: 'all',
          defaultPlan: undefined,
          plans: ['all'],
          now: Date.now(),
          grant,
        })
      ).key
    const [capped, other] = [await make({ budget: { usd: 0.001, per: 'month' } }), await make()]
    const first = await send(capped, { ...chat(), model: 'small' })
    expect(first.status).toBe(200)
    expect(first.headers.ratelimit).toMatch(/^"key-usd";r=/)
    expect(first.headers['ratelimit-policy']).toContain('"key-usd";q=1000;qu="micro-usd"')
    let spent = COST
    let refused: Awaited<ReturnType<typeof send>> | undefined
    for (let turn = 0; turn < 60 && refused === undefined; turn += 1) {
      const answer = await send(capped, { ...chat(), model: 'small' })
      if (answer.status === 200) spent += COST
      else refused = answer
    }
    expect(spent).toBeLessThanOrEqual(0.001)
    expect(refused).toMatchObject({ status: 429, json: { error: { code: 'insufficient_quota' } } })
    expect(refused?.json.error.message).toContain("'key-usd'")
    const dry = await send(capped, { ...chat(), model: 'small' }, { headers: { 'x-tollgate-dry-run': 'true' } })
    expect(dry.json).toMatchObject({
      verdict: 'refused',
      refusal: { code: 'insufficient_quota' },
      limits: [{ limit: 'key-usd', counts: 'nano_usd', of: 1_000_000 }],
    })
    expect(refused?.story).toContainEqual(expect.objectContaining({ name: 'budget', decision: 'insufficient_quota' }))
    expect((await send(other, { ...chat(), model: 'small' })).status).toBe(200)
  })

  test('refuses a model without a price', async () => {
    const key = await keyFor({ budget: { usd: 1, per: 'day' } })
    expect(await outcome(key, { model: 'free' })).toBe('403 model_not_priced')
  })

  test('goes on over rotations: the new key has what the old one left, and while both work they share it', async () => {
    const first = await keyFor({ budget: { usd: 0.001, per: 'month' } })
    const recordOf = async (key: string) =>
      (await gateway.consumers.findKey(parseKey(key)?.publicId ?? '')) ?? expect.fail('There is no such key')
    let [admitted, last] = [0, first]
    const keys = [first]
    for (let turn = 0; turn < 60; turn += 1) {
      if (turn % 10 === 1) {
        last = (await reissueKey(gateway.consumers, await recordOf(last), { graceMs: 60_000, now: Date.now() })).key
        keys.push(last)
      }
      const { status } = await send(keys[turn % keys.length] ?? last, { ...chat(), model: 'small' })
      expect([200, 429]).toContain(status)
      if (status === 200) admitted += 1
    }
    expect(admitted * COST).toBeLessThanOrEqual(0.001)
    expect(admitted).toBeGreaterThan(1)
    for (const key of keys) expect((await send(key, { ...chat(), model: 'small' })).status).toBe(429)
  })
})

test('keys of one group share its limits, whichever consumer’s they are, and those of another group do not', async () => {
  const grouped = gatewayOver(resolve({ ...document, groups: { team: { limits: [{ requests: 2, per: 'day' }] } } }), {
    retry: neverRetry,
  })
  try {
    const make = async (team: string) => {
      const options = { consumer: unique('c'), plan: 'all', defaultPlan: undefined, plans: ['all'], now: Date.now() }
      return (await issueKey(grouped.consumers, { ...options, groups: { team } })).key
    }
    const [one, two, other] = [await make('red / 1'), await make('red / 1'), await make('blue')]
    const statuses: number[] = []
    for (const key of [one, two, one, two, other]) {
      statuses.push((await send(key, { ...chat(), model: 'small' }, { over: grouped })).status)
    }
    expect(statuses).toEqual([200, 200, 429, 429, 200])
  } finally {
    await grouped.close()
  }
})
