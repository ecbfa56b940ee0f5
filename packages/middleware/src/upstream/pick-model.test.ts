import { describe, expect, test } from 'vitest'
import { baseContext } from '../../../../test/support/base-context.ts'
import { modelCall, statusOf } from '../../../../test/support/model-call.ts'
import { answered } from '../../../../test/support/replies.ts'
import { bodyOf, type Call, embeddings, type Json, type Reply, responses } from '../operations/index.ts'
import { pipeline } from '../pipeline/index.ts'
import { type Model, resolvePolicy } from '../policy/index.ts'
import { reachableModels } from './pick-model.ts'
import { rightsOf } from './rights.ts'
import { type Pinned, type Routed, route } from './route.ts'

/* Which model and which candidates serve, by policies as they are written. */

const ANSWER = { choices: [{ index: 0, message: { content: 'a' }, finish_reason: 'stop' }] }
const at = (host: string, more: object = {}) => ({
  openai: { baseUrl: `https://${host}.example/v1`, model: host },
  ...more,
})
const served = (host: string, more: object = {}) => ({ targets: [at(host)], ...more })

const DOCUMENT = {
  models: {
    small: served('small', { fallback: 'large' }),
    large: served('large', { fallback: 'third' }),
    third: served('third'),
    lambda: { targets: [at('lambda', { zone: 'us' })] },
    everywhere: {
      targets: [
        at('eu-1', { zone: 'eu', priority: 2 }),
        at('eu-ptu', { zone: 'eu', priority: 1 }),
        at('us-1', { zone: 'us', priority: 2, weight: 9 }),
        at('nowhere', { priority: 3 }),
      ],
    },
    flexible: {
      targets: [at('f-1', { priority: 1 }), at('f-2', { priority: 5 })],
      tiers: ['flex', 'default'],
      price: { input: 1, output: 2, tiers: { flex: 0.5 } },
    },
    tiered: { targets: [at('t-1')], price: { input: 1, output: 2, tiers: { flex: 0.5, priority: 2 } } },
    'gpt-4o': { alias: 'large' },
    ab: { split: { large: 50, lambda: 50 } },
    'ab-request': { split: { large: 50, lambda: 50 }, by: 'request' },
    auto: {
      route: {
        small: 'small',
        large: 'large',
        rules: [
          { header: { name: 'X-Size', value: 'Small' }, use: 'small' },
          { tools: true },
          { schema: true, turns: 2 },
          { code: true },
          { tokens: 2_000 },
          { turns: 10 },
        ],
      },
    },
    mixed: { split: { auto: 1, 'gpt-4o': 1 } },
    'auto-alias': { alias: 'auto' },
    plain: { route: { small: 'small', large: 'lambda', rules: [{ tools: false }] } },
  },
  plans: {
    all: { limits: [] },
    eu: { limits: [], zones: ['eu'] },
    'small-only': { limits: [], models: ['small', 'auto'] },
    'large-only': { limits: [], models: ['large', 'auto', 'ab', 'mixed'] },
    unlisted: { limits: [], models: ['small', 'large'] },
    default: { limits: [], tiers: ['default'] },
    flex: { limits: [], tiers: ['flex'] },
    'all-tiers': { limits: [], tiers: ['default', 'flex', 'priority'] },
  },
}
const RESOLVED = resolvePolicy(DOCUMENT, {
  source: 'a test',
  bounds: { env: {}, readable: [], hosts: ['*.example'] },
  defaultTarget: undefined,
})

/** What no document may say, so that nothing hangs on its being refused. */
const changed = (name: string, change: Partial<Model>) =>
  [name, { ...(RESOLVED.models.get(name) as Model), ...change }] as const
const POLICY = {
  ...RESOLVED,
  models: new Map([
    ...RESOLVED.models,
    changed('third', { fallback: 'small' }),
    changed('flexible', { tiers: ['flex', 'priority', 'default'] }),
  ]),
  plans: new Map([
    ...RESOLVED.plans,
    [
      'stranded',
      {
        name: 'stranded',
        limits: [],
        shared: [],
        rights: { models: ['ab', 'small'], tiers: undefined, tools: undefined },
      },
    ],
  ]),
}

interface Asked extends Partial<Pick<Call, 'operation' | 'bodyDigest' | 'fit'>> {
  readonly plan?: string
  readonly consumer?: string
  readonly body?: Json
  readonly headers?: Record<string, string>
}

async function ask(
  model: string | undefined,
  { plan = 'all', consumer = 'alice', body, headers, ...more }: Asked = {},
) {
  let routed: Routed['routed'] | undefined
  const context = baseContext()
  const call = modelCall({
    model,
    route: 'chat',
    body: bodyOf({ messages: [{ role: 'user', content: 'Why?' }], ...body }),
    headers: new Headers(headers),
    ...more,
  })
  const reply = await pipeline<Pinned, Call, Reply>()
    .use(route({ maxOutputTokens: 700 }))
    .handle((_call, inner) => {
      routed = inner.routed
      return answered(ANSWER)
    })(call, { ...context, policy: POLICY, consumer: { id: consumer, plan } })
  const refusal = reply.kind === 'refused' ? reply.refusal : undefined
  const candidates = routed?.candidates.map(({ target, tier, rank }) => [target.settings.model, tier, rank])
  return {
    model: routed?.model.name,
    reason: routed?.reason,
    candidates,
    routed,
    refusal,
    told: context.told,
    status: statusOf(reply),
  }
}

const picked = async (name: string, asked: Asked = {}) => {
  const { model, reason, refusal } = await ask(name, asked)
  return refusal === undefined ? `${model}: ${reason}` : `${refusal.status} ${refusal.code}`
}
const TOOLS = [{ type: 'function', function: { name: 'f' } }]
const turns = (count: number) => Array.from({ length: count }, () => ({ role: 'user', content: 'a' }))
const SCHEMA = { type: 'json_schema', json_schema: {} }

describe('a route picks by the first rule that holds', () => {
  test.each<[string, Asked, string]>([
    ['none', {}, 'small: route: no rule'],
    ['tools', { body: { tools: TOOLS } }, 'large: route: tools'],
    [
      'a header before all',
      { body: { tools: TOOLS }, headers: { 'x-size': 'SMALL' } },
      'small: route: header x-size=small',
    ],
    ['a header of another value', { headers: { 'x-size': 'large' } }, 'small: route: no rule'],
    ['a schema alone', { body: { response_format: SCHEMA } }, 'small: route: no rule'],
    [
      'a schema and turns',
      { body: { response_format: SCHEMA, messages: turns(2) } },
      'large: route: schema and turns >= 2',
    ],
    ['code', { body: { messages: [{ role: 'user', content: '```\nx\n```' }] } }, 'large: route: code'],
    ['tokens', { body: { messages: [{ role: 'user', content: 'a'.repeat(8_000) }] } }, 'large: route: tokens >= 2000'],
    ['a token fewer', { body: { messages: [{ role: 'user', content: 'a'.repeat(7_996) }] } }, 'small: route: no rule'],
    ['turns', { body: { messages: turns(10) } }, 'large: route: turns >= 10'],
    [
      'a response’s items',
      { operation: responses, body: { messages: undefined, input: turns(10) } },
      'large: route: turns >= 10',
    ],
    [
      'a text to embed',
      { operation: embeddings, body: { messages: undefined, input: 'a'.repeat(8_000) } },
      'large: route: tokens >= 2000',
    ],
    [
      'texts to embed, which have no turns and no code',
      { operation: embeddings, body: { messages: undefined, input: Array.from({ length: 12 }, () => '```') } },
      'small: route: no rule',
    ],
  ])('%s', async (_what, asked, expected) => {
    expect(await picked('auto', asked)).toBe(expected)
  })

  test('a rule may ask for what is not there', async () => {
    expect(await picked('plain')).toBe('lambda: route: no tools')
    expect(await picked('plain', { body: { tools: TOOLS } })).toBe('small: route: no rule')
  })
})

describe('a split', () => {
  const partsOf = async (name: string, asked: readonly Asked[]) =>
    new Set(await Promise.all(asked.map((each) => picked(name, each))))
  const consumers = Array.from({ length: 40 }, (_, index) => ({ consumer: `c${index}` }))
  const bodies = Array.from({ length: 40 }, (_, index) => ({ bodyDigest: () => `digest ${index}` }))
  const BOTH = new Set(['large: split', 'lambda: split'])

  test('by consumer keeps all of a consumer’s requests on one part', async () => {
    expect(await partsOf('ab', consumers)).toEqual(BOTH)
    expect((await partsOf('ab', bodies)).size).toBe(1)
  })

  test('by request keeps all requests of one body on one part', async () => {
    expect(await partsOf('ab-request', bodies)).toEqual(BOTH)
    expect((await partsOf('ab-request', consumers)).size).toBe(1)
  })

  test('leads on through aliases and routes', async () => {
    const tools = consumers.map((each) => ({ ...each, body: { tools: TOOLS } }))
    expect(await partsOf('mixed', tools)).toEqual(new Set(['large: split, route: tools', 'large: split']))
    expect(await picked('auto-alias')).toBe('small: alias, route: no rule')
    expect(await picked('gpt-4o')).toBe('large: alias')
  })
})

describe('what the plan doesn’t allow is not picked', () => {
  test.each<[string, Asked, string]>([
    ['auto', { plan: 'large-only' }, 'large: route: plan'],
    ['auto', { plan: 'large-only', body: { tools: TOOLS } }, 'large: route: tools'],
    ['auto', { plan: 'small-only', body: { tools: TOOLS } }, 'small: route: plan'],
    ['ab', { plan: 'large-only' }, 'large: split'],
    ['ab', { plan: 'stranded' }, '403 model_not_allowed'],
    ['auto', { plan: 'unlisted' }, '403 model_not_allowed'],
    ['gpt-4o', { plan: 'unlisted' }, 'large: alias'],
    ['mixed', { plan: 'large-only', consumer: 'c1' }, 'large: split'],
    ['ab', { plan: 'eu' }, '403 zone_not_allowed'],
    ['lambda', { plan: 'eu' }, '403 zone_not_allowed'],
    ['everywhere', { plan: 'eu' }, 'everywhere: named'],
    ['none', {}, '404 model_not_found'],
    ['none', { plan: 'eu' }, '404 model_not_found'],
  ])('%s, %o: %s', async (name, asked, expected) => {
    expect(await picked(name, asked)).toBe(expected)
  })

  test('a refusal names the model, the zones and no address', async () => {
    const { refusal, told } = await ask('lambda', { plan: 'eu' })
    expect(refusal?.message).toContain("'lambda'")
    expect(refusal?.message).toContain('eu')
    expect(refusal?.message).not.toMatch(/https?:|example/)
    expect(told).toEqual({ model: 'lambda' })
    expect((await ask('auto', { plan: 'unlisted' })).refusal?.message).toContain('It allows: small, large and gpt-4o.')
  })

  test('a consumer is shown what it can reach', () => {
    const shown = (plan: string) => {
      const rights = rightsOf(POLICY, { plan })
      const names = [...POLICY.models.keys(), ...(POLICY.virtualModels?.keys() ?? [])]
      return names.filter((name) => reachableModels(name, { policy: POLICY, rights }).length > 0)
    }
    expect(shown('eu')).toEqual(['everywhere'])
    expect(shown('small-only')).toEqual(['small', 'auto', 'auto-alias'])
    expect(shown('all')).toHaveLength(Object.keys(DOCUMENT.models).length)
  })
})

describe('candidates', () => {
  test('are the targets by priority, whatever their order in the policy', async () => {
    const { candidates } = await ask('everywhere')
    expect(candidates).toEqual([
      ['eu-ptu', undefined, 1],
      ['eu-1', undefined, 2],
      ['us-1', undefined, 2],
      ['nowhere', undefined, 3],
    ])
  })

  test('of a plan with zones are in these: not what is elsewhere, and not what says nowhere', async () => {
    const { candidates } = await ask('everywhere', { plan: 'eu' })
    expect(candidates).toEqual([
      ['eu-ptu', undefined, 1],
      ['eu-1', undefined, 2],
    ])
  })

  const FLEX = [
    ['f-1', 'flex', 1],
    ['f-2', 'flex', 2],
  ]
  /** `priority` has no price: its ranks stay empty. */
  const usual = (before: number) => [
    ['f-1', 'default', before + 1],
    ['f-2', 'default', before + 2],
  ]
  const NAMED = [
    ['f-1', undefined, 1],
    ['f-2', undefined, 2],
  ]
  test.each<[string, Asked, unknown]>([
    ['each tier after the other', {}, [...FLEX, ...usual(4)]],
    ['for who leaves it to the service too', { body: { service_tier: 'auto' } }, [...FLEX, ...usual(4)]],
    ['those that the plan allows: the usual one', { plan: 'default' }, usual(0)],
    ['those that the plan allows: flex', { plan: 'flex' }, FLEX],
    ['none of them for who names one', { body: { service_tier: 'flex' } }, NAMED],
    ['none of them for who names the usual one', { body: { service_tier: 'default' } }, NAMED],
  ])('of a model with tiers: %s', async (_what, asked, expected) => {
    expect((await ask('flexible', asked)).candidates).toEqual(expected)
  })

  test.each<[string, Asked, string | undefined]>([
    ['the usual one is asked for by name', { plan: 'default' }, 'default'],
    ['so it is for who sends auto', { plan: 'default', body: { service_tier: 'auto' } }, 'default'],
    ['a tier that the request names goes as it is', { plan: 'default', body: { service_tier: 'default' } }, undefined],
    ['a plan that allows all of them leaves it to the service', { plan: 'all-tiers' }, undefined],
    ['so does one that lists none', {}, undefined],
  ])('where a plan doesn’t allow all tiers that have a price, %s', async (_what, asked, tier) => {
    expect((await ask('tiered', asked)).candidates).toEqual([['t-1', tier, 1]])
    expect((await ask('small', asked)).candidates?.[0]?.[1]).toBeUndefined()
  })

  test('a tier that the plan doesn’t list is refused by name', async () => {
    expect(await picked('flexible', { plan: 'flex', body: { service_tier: 'default' } })).toBe('403 tier_not_allowed')
    expect(await picked('flexible', { plan: 'default', body: { service_tier: 'flex' } })).toBe('403 tier_not_allowed')
    expect(await picked('small', { plan: 'flex' })).toBe('403 tier_not_allowed')
  })

  test('are the same objects for every request', async () => {
    for (const asked of [{}, { plan: 'eu' }]) {
      const [one, other] = [await ask('everywhere', asked), await ask('everywhere', asked)]
      expect(one.routed?.candidates).toBe(other.routed?.candidates)
    }
  })
})

describe('a fallback', () => {
  test('follows from model to model, each once', async () => {
    const names: string[] = []
    let next = (await ask('small')).routed
    while (next !== undefined && names.length < 9) {
      names.push(`${next.model.name}: ${next.reason}`)
      next = next.fallback?.()
    }
    expect(names).toEqual(['small: named', 'large: fallback', 'third: fallback'])
  })

  test('is not asked where the plan doesn’t allow it', async () => {
    const { routed } = await ask('large', { plan: 'unlisted' })
    expect(routed?.fallback?.()).toBeUndefined()
  })

  test('gets a body by its own rules, with the tier that the caller named', async () => {
    const fitted: unknown[] = []
    const fit: Call['fit'] = (body, rules) => {
      fitted.push(rules)
      return body.with({ fitted: fitted.length })
    }
    const { routed } = await ask('small', { fit, body: { service_tier: 'flex' } })
    const next = routed?.fallback?.()
    expect(fitted).toEqual([routed?.rules, next?.rules])
    expect([routed?.body.json.fitted, next?.body.json.fitted]).toEqual([1, 2])
    expect(next?.body.json).toMatchObject({ service_tier: 'flex', max_tokens: 700 })
  })
})

test('a conversation stays where there is a choice of targets, and is not worked out where there is none', async () => {
  expect((await ask('everywhere')).routed?.sticky?.()).toEqual(expect.any(String))
  expect((await ask('small')).routed?.sticky).toBeUndefined()
  const embedded = await ask('everywhere', { operation: embeddings, body: { messages: undefined, input: 'a' } })
  expect(embedded.routed?.sticky).toBeUndefined()
})
