import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { replyText, request } from '../../../../test/support/base-context.ts'
import { unique } from '../../../../test/support/consumers.ts'
import { gatewayOver } from '../../../../test/support/gateway.ts'
import { answering, failing, startUpstream, streaming, type Upstream } from '../../../../test/support/upstream.ts'
import { issueKey } from '../auth/index.ts'
import { type FinishedRequest, fromIterable, type HttpResponse } from '../pipeline/index.ts'
import { resolvePolicy } from '../policy/index.ts'
import { chatCompletions, generate, openaiEmbeddings, openaiResponses, type Surface } from '../surfaces/index.ts'
import { trace } from '../telemetry/index.ts'
import { neverRetry } from '../upstream/index.ts'
import type { Gateway } from './index.ts'

/* Which model and which target serve, on the whole way before real servers: one a target. */

const PLACES = ['large', 'lambda', 'small', 'eu', 'us', 'thinker', 'flexible'] as const
type Place = (typeof PLACES)[number]

let servers: Readonly<Record<Place, Upstream>>
let gateway: Gateway
const finished: FinishedRequest[] = []
const keys = new Map<string, string>()

beforeAll(async () => {
  const started = await Promise.all(PLACES.map(async (place) => [place, await startUpstream()] as const))
  servers = Object.fromEntries(started) as Record<Place, Upstream>
  const at = (place: Place, more: object = {}) => ({
    openai: { baseUrl: servers[place].baseUrl, model: `${place}-1` },
    ...more,
  })
  const policy = resolvePolicy(
    {
      models: {
        large: { targets: [at('large')], fallback: 'thinker', price: { input: 1, output: 2 } },
        lambda: { targets: [at('lambda')] },
        small: { targets: [at('small')] },
        thinker: { targets: [at('thinker')], output: 'max_completion_tokens', temperature: false },
        zoned: { targets: [at('eu', { zone: 'eu' }), at('us', { zone: 'us' })] },
        pair: { targets: [at('eu', { zone: 'eu' }), at('us', { zone: 'us' })] },
        american: { targets: [at('us', { zone: 'us' })] },
        flexible: {
          targets: [at('flexible')],
          tiers: ['flex', 'default'],
          price: { input: 1, output: 2, tiers: { flex: 0.5 } },
        },
        ab: { split: { large: 90, lambda: 10 } },
        auto: { route: { small: 'small', large: 'large', rules: [{ tools: true }, { tokens: 2_000 }] } },
        either: { split: { american: 1, small: 1 } },
      },
      plans: {
        all: { limits: [] },
        eu: { limits: [], zones: ['eu'] },
        us: { limits: [], zones: ['us'] },
        cheap: { limits: [], models: ['small', 'auto'] },
      },
      routes: {
        generate: { model: 'auto' },
        chat: { model: 'auto', cache: { scope: 'shared' } },
        responses: { model: 'auto' },
        embeddings: { model: 'auto' },
      },
    },
    { source: 'a test', bounds: { env: {}, readable: [], hosts: ['127.0.0.1'] }, defaultTarget: undefined },
  )
  gateway = gatewayOver(policy, { retry: neverRetry })
  for (const plan of policy.plans.keys()) await keyOf(plan, `on-${plan}`)
})
afterAll(async () => {
  await gateway.close()
  await Promise.all(Object.values(servers).map((server) => server.close()))
})
afterEach(() => {
  for (const server of Object.values(servers)) {
    server.calls.length = 0
    server.reply = answering()
  }
  finished.length = 0
})

async function keyOf(plan: string, consumer: string): Promise<string> {
  const known = keys.get(consumer)
  if (known !== undefined) return known
  const { key } = await issueKey(gateway.consumers, {
    consumer,
    plan,
    defaultPlan: 'all',
    plans: [plan],
    now: Date.now(),
  })
  keys.set(consumer, key)
  return key
}

interface Asking {
  readonly plan?: string
  readonly consumer?: string
  readonly surface?: Surface
  readonly headers?: Record<string, string>
}

async function send(
  fields: object,
  { plan = 'all', consumer = `on-${plan}`, surface = chatCompletions, headers }: Asking,
) {
  const lines: Readonly<Record<string, unknown>>[] = []
  const entry = trace({
    refuse: surface.refuse,
    handler: () => gateway.handler(surface),
    finished: (each) => finished.push(each),
  })
  const body = fromIterable([Buffer.from(JSON.stringify(fields))])
  const sent = new Headers({ 'x-api-key': await keyOf(plan, consumer), ...headers })
  const response = await entry({ ...request, headers: sent, body }, (_level, line) => lines.push(line))
  const text = await replyText(response)
  return { ...served(response), text, line: lines.find(({ event }) => event === 'request') }
}

function served({ status, headers }: HttpResponse) {
  const cache = headers['cache-status'] ?? ''
  return {
    status,
    model: headers['x-tollgate-model'],
    reason: headers['x-tollgate-reason'],
    target: /^openai:([^:]+)-1:/.exec(headers['x-tollgate-target'] ?? '')?.[1],
    cache: /\bhit\b|collapsed/.exec(cache)?.[0] ?? 'miss',
  }
}

const chat = (prompt: string, more: object = {}) => ({ messages: [{ role: 'user', content: prompt }], ...more })
const calls = () => PLACES.flatMap((place) => servers[place].calls.map(() => place))

describe('each answer says which model and target served, and why', () => {
  test('an A/B test of 90 to 10 keeps each consumer on its part', async () => {
    const parts = new Map<string, number>()
    for (let index = 0; index < 40; index += 1) {
      const asking = { consumer: `consumer-${index}` }
      const [one, other] = [
        await send(chat('a', { model: 'ab' }), asking),
        await send(chat('b', { model: 'ab' }), asking),
      ]
      expect(other).toMatchObject({ model: one.model, target: one.model, reason: 'split', status: 200 })
      expect(one.line).toMatchObject({ model: one.model, reason: 'split' })
      parts.set(one.model ?? '', (parts.get(one.model ?? '') ?? 0) + 1)
    }
    expect([...parts.keys()].toSorted()).toEqual(['lambda', 'large'])
    expect(parts.get('large')).toBeGreaterThan(30)
  })

  const long = 'word '.repeat(1_600)
  test.each<[string, Surface, (prompt: string, tools: boolean) => object]>([
    [
      'chat',
      chatCompletions,
      (prompt, tools) => chat(prompt, tools ? { tools: [{ type: 'function', function: { name: 'f' } }] } : {}),
    ],
    ['generate', generate, (prompt, tools) => ({ prompt: tools ? `${long}${prompt}` : prompt })],
    ['responses', openaiResponses, (input, tools) => ({ input: tools ? `${long}${input}` : input, store: false })],
    ['embeddings', openaiEmbeddings, (input, tools) => ({ input: tools ? `${long}${input}` : input })],
  ])('small or large, by %s', async (_what, surface, body) => {
    // A refusal of the service's own says it as an answer does, and no fallback is asked for it.
    for (const place of ['small', 'large'] as const) servers[place].reply = failing(400)
    const small = await send(body(unique('p'), false), { surface })
    expect(small).toMatchObject({ model: 'small', reason: 'route: no rule' })
    const large = await send(body(unique('p'), true), { surface })
    expect(large).toMatchObject({ model: 'large', reason: expect.stringMatching(/^route: (tools|tokens >= 2000)$/) })
    expect([small.target, large.target]).toEqual(['small', 'large'])
    expect(calls()).toEqual(['large', 'small'])
  })

  test('a miss, a hit, a stream of either, and what is refused further in', async () => {
    const prompt = unique('p')
    expect(await send(chat(prompt, { model: 'zoned' }), { plan: 'us' })).toMatchObject({ target: 'us', cache: 'miss' })
    const seen = { model: 'zoned', reason: 'named', target: 'us', cache: 'hit' }
    expect(await send(chat(prompt, { model: 'zoned' }), { plan: 'us' })).toMatchObject(seen)
    expect(await send(chat(prompt, { model: 'zoned', stream: true }), { plan: 'us' })).toMatchObject(seen)
    servers.us.reply = streaming(['a'])
    const streamed = await send(chat(unique('p'), { model: 'zoned', stream: true }), { plan: 'us' })
    expect(streamed).toMatchObject({ ...seen, cache: 'miss' })
    const only = { 'cache-control': 'only-if-cached' }
    const refused = await send(chat(unique('p'), { model: 'small' }), { headers: only })
    expect(refused).toMatchObject({ status: 504, model: 'small', reason: 'named', target: undefined })
  })

  test('a model that nobody has, and one that the plan doesn’t allow, are none', async () => {
    expect(await send(chat('a', { model: 'none' }), {})).toMatchObject({ status: 404, model: undefined })
    const forbidden = await send(chat('a', { model: 'large' }), { plan: 'cheap' })
    expect(forbidden).toMatchObject({ status: 403, reason: undefined, line: { refusal: 'model_not_allowed' } })
  })

  test('a plan without the large model has the small one', async () => {
    const tools = { tools: [{ type: 'function', function: { name: 'f' } }] }
    expect(await send(chat(unique('p'), tools), { plan: 'cheap' })).toMatchObject({
      model: 'small',
      reason: 'route: plan',
    })
    expect(calls()).toEqual(['small'])
  })
})

describe('a plan of zone eu', () => {
  test.each<[string, boolean]>([
    ['plain', false],
    ['streamed', true],
  ])('gets no answer that was made elsewhere, stored or under way: %s', async (_how, stream) => {
    const prompt = unique('p')
    if (stream) for (const place of ['eu', 'us'] as const) servers[place].reply = streaming(['a', 'b'])
    const ask = (plan: string) => send(chat(prompt, { model: 'zoned', stream }), { plan })
    // At the same time, and then again.
    const asked = await Promise.all([ask('us'), ask('eu'), ask('us'), ask('eu')])
    expect(asked.map(({ target }) => target)).toEqual(['us', 'eu', 'us', 'eu'])
    expect(asked.map(({ cache }) => cache).toSorted()).toEqual(['collapsed', 'collapsed', 'miss', 'miss'])
    const stored = await Promise.all([ask('eu'), ask('us')])
    expect(stored.map(({ target, cache }) => [target, cache])).toEqual([
      ['eu', 'hit'],
      ['us', 'hit'],
    ])
    expect(calls()).toEqual(['eu', 'us'])
  })

  test('is refused what is served in none, by name, and a split’s other parts too', async () => {
    for (const model of ['american', 'small', 'either']) {
      const { status, text, line } = await send(chat('a', { model }), { plan: 'eu' })
      expect([status, line?.refusal]).toEqual([403, 'zone_not_allowed'])
      expect(text).not.toContain('127.0.0.1')
    }
    expect(calls()).toEqual([])
  })

  test('sees in the list what it can reach', async () => {
    const ids = async (plan: string) => {
      const headers = new Headers({ 'x-api-key': await keyOf(plan, `on-${plan}`) })
      const url = new URL('http://x/api/v1/models')
      const entry = trace({ refuse: chatCompletions.refuse, handler: () => gateway.models })
      const response = await entry({ ...request, method: 'GET', url, headers }, () => {})
      return JSON.parse(await replyText(response)).data.map(({ id }: { id: string }) => id)
    }
    expect(await ids('eu')).toEqual(['zoned', 'pair'])
    expect(await ids('us')).toEqual(['zoned', 'pair', 'american', 'either'])
    expect(await ids('cheap')).toEqual(['small', 'auto'])
  })
})

describe('a fallback', () => {
  test('is asked in its own words, told, and stored as nobody else’s', async () => {
    servers.large.reply = failing(500)
    const prompt = unique('p')
    const ask = () => send({ prompt, model: 'large', temperature: 0.2, max_tokens: 9 }, { surface: generate })
    const first = await ask()
    expect(first).toMatchObject({ status: 200, model: 'thinker', reason: 'fallback', target: 'thinker', cache: 'miss' })
    expect(first.line).toMatchObject({ model: 'thinker', reason: 'fallback' })
    const [sent] = servers.thinker.calls
    expect(sent?.body).toMatchObject({ model: 'thinker-1', max_completion_tokens: 9 })
    expect(sent?.body).not.toHaveProperty('max_tokens')
    expect(sent?.body).not.toHaveProperty('temperature')
    expect(servers.large.calls[0]?.body).toMatchObject({ max_tokens: 9, temperature: 0.2 })
    const steps = finished[0]?.story.steps.filter(({ name }) => name === 'route').map(({ decision }) => decision)
    expect(steps).toEqual(['named', 'fallback'])

    // Stored as its own: while the first fails it is a hit, and once that works it is asked again.
    expect(await ask()).toMatchObject({ model: 'thinker', reason: 'fallback', cache: 'hit' })
    servers.large.reply = answering()
    expect(await ask()).toMatchObject({ model: 'large', reason: 'named', cache: 'miss' })
    expect(servers.thinker.calls).toHaveLength(1)
  })

  test('is asked for a stream before its first byte, with the tier that the caller named', async () => {
    servers.large.reply = failing(503)
    servers.thinker.reply = streaming(['a', 'b'])
    const body = chat(unique('p'), { model: 'large', stream: true, service_tier: 'flex' })
    const { model, reason, text } = await send(body, {})
    expect([model, reason]).toEqual(['thinker', 'fallback'])
    expect(text).toContain('[DONE]')
    expect(servers.thinker.calls[0]?.body.service_tier).toBe('flex')
  })
})

test('a conversation stays on one of a model’s targets, and others on the other', async () => {
  const turn = async (opening: string, later: string, headers?: Record<string, string>) => {
    const messages = [opening, later].map((content) => ({ role: 'user', content }))
    return (await send({ model: 'pair', messages }, { headers: headers ?? {} })).target
  }
  const seen = new Set<unknown>()
  for (let index = 0; index < 12; index += 1) {
    const opening = unique('opening')
    const first = await turn(opening, '1')
    expect([await turn(opening, '2'), await turn(opening, '3')]).toEqual([first, first])
    seen.add(first)
    const session = { 'x-claude-code-session-id': opening }
    expect(await turn(unique('any'), '1', session)).toBe(await turn(unique('any'), '2', session))
  }
  expect(seen).toEqual(new Set(['eu', 'us']))
})

test('a model’s tiers are asked for in their order, where the caller names none', async () => {
  await send(chat(unique('p'), { model: 'flexible' }), {})
  await send(chat(unique('p'), { model: 'flexible', service_tier: 'default' }), {})
  expect(servers.flexible.calls.map(({ body }) => body.service_tier)).toEqual(['flex', 'default'])
})

test('a dry run tells the model, why, and where it would be asked', async () => {
  const headers = { 'x-tollgate-dry-run': 'true' }
  const { text } = await send(chat(unique('p'), { model: 'flexible' }), { headers })
  const target = expect.stringMatching(/^openai:flexible-1:/)
  expect(JSON.parse(text)).toMatchObject({
    model: 'flexible',
    reason: 'named',
    candidates: [
      { target, zone: null, tier: 'flex' },
      { target, zone: null, tier: 'default' },
    ],
  })
  const refused = await send(chat('a', { model: 'american' }), { plan: 'eu', headers })
  expect(JSON.parse(refused.text)).toMatchObject({ verdict: 'refused', model: null, reason: null, candidates: null })
  expect(calls()).toEqual([])
})
