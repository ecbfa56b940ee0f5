import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { OpenAISettings } from '../targets/index.ts'
import { type Policy, type ResolveOptions, resolvePolicy, routeOf } from './index.ts'
import { interner } from './interned.ts'

const settings = (key: string): OpenAISettings => ({
  kind: 'openai',
  baseUrl: 'https://api.openai.com/v1',
  model: 'gpt-4',
  key,
})
const options = (key: string): ResolveOptions => ({
  source: 'test.yaml',
  bounds: { env: { OPENAI_KEY: key }, readable: ['OPENAI_*'], hosts: [] },
  defaultTarget: settings(key),
})

/* Documents of few values, so that any two have parts in common. */
const number = fc.constantFrom(5, 6, 7)
const limit = fc.oneof(
  fc.record({ requests: number, per: fc.constantFrom('1m', 'day') }),
  fc.record({ concurrent: number }),
)
const limits = fc.uniqueArray(limit, { selector: (each) => ('per' in each ? each.per : ''), maxLength: 2 })
const name = fc.constantFrom('a', 'b')
const price = fc.option(fc.record({ input: number, output: number }), { nil: undefined })
const whole = fc.record({
  plans: fc.dictionary(name, fc.record({ limits, shared: fc.record({ limits }) }), { minKeys: 1 }),
  global: fc.record({ limits }),
  models: fc.dictionary(
    name,
    fc.record({
      targets: fc.tuple(
        fc.record({ openai: fc.record({ model: name, key: fc.constant({ env: 'OPENAI_KEY' }) }), weight: number }),
        fc.constantFrom({ openai: { model: 'c' }, zone: 'eu' }, { openai: { model: 'c' }, priority: 2 }),
      ),
      price,
      tiers: fc.option(fc.constant(['default']), { nil: undefined }),
      retry: fc.constantFrom(false, undefined),
    }),
  ),
  virtual: fc.constantFrom(
    {},
    { v: { alias: 'default' } },
    { v: { split: { default: 1 } } },
    { w: { alias: 'default' } },
  ),
  routes: fc.record({ generate: fc.record({ cache: fc.constantFrom({ ttl: '1h' }, { ttl: '2h' }) }) }),
})
type Whole = typeof whole extends fc.Arbitrary<infer T> ? T : never
const key = fc.constantFrom('sk-1', 'sk-2')

/** All objects and lists of a value, itself among them. */
function partsOf(value: unknown): object[] {
  if (typeof value !== 'object' || value === null) return []
  return [value, ...Object.values(value).flatMap(partsOf)]
}

const partsOfPolicy = ({ plans, global, models, virtualModels = new Map(), routes }: Policy) =>
  [...plans.values(), global, ...models.values(), ...virtualModels.values(), ...routes.values()].flatMap(partsOf)

/** What a policy must say, by the document alone. */
function says({ plans, global, models, routes }: Policy, document: Whole, key: string): void {
  const quotas = (list: readonly { quota: number }[]) => list.map(({ quota }) => quota)
  const stated = (list: Whole['global']['limits']) =>
    list.map((each) => ('requests' in each ? each.requests : each.concurrent))
  for (const [name, plan] of Object.entries(document.plans)) {
    expect(quotas(plans.get(name)?.limits ?? [])).toEqual(stated(plan.limits))
    expect(quotas(plans.get(name)?.shared ?? [])).toEqual(stated(plan.shared.limits))
  }
  expect(quotas(global)).toEqual(stated(document.global.limits))
  for (const [name, model] of Object.entries(document.models)) {
    expect(models.get(name)?.targets).toMatchObject([
      {
        price: model.price && { rates: { input: model.price.input * 1e6, output: model.price.output * 1e6 } },
        settings: { model: model.targets[0].openai.model, key },
        weight: model.targets[0].weight,
      },
      { settings: { model: 'c', key: undefined } },
    ])
  }
  expect(routeOf({ routes }, 'generate').cache?.ttlMs).toBe(
    document.routes.generate.cache.ttl === '1h' ? 3_600_000 : 7_200_000,
  )
}

test('of any two policies, and the first one again, equal parts are one object, and each says what its document says', () => {
  let shared = 0
  fc.assert(
    fc.property(whole, key, whole, key, (a, keyOfA, b, keyOfB) => {
      const turns = [
        [a, keyOfA],
        [b, keyOfB],
        [structuredClone(a), keyOfA],
      ] as const
      const policies = turns.map(([{ virtual, ...document }, key]) =>
        resolvePolicy({ ...document, models: { ...document.models, ...virtual } }, options(key)),
      )
      for (const [index, [document, key]] of turns.entries()) says(policies[index] as Policy, document, key)
      const objects = new Map<string, object>()
      for (const part of policies.flatMap(partsOfPolicy)) {
        const content = JSON.stringify(part)
        const first = objects.get(content) ?? part
        objects.set(content, first)
        expect(part).toBe(first)
      }
      const [first, second] = policies.slice(0, 2).map((policy) => new Set(partsOfPolicy(policy)))
      shared += first?.intersection(second ?? new Set()).size ?? 0
    }),
  )
  expect(shared).toBeGreaterThan(100)
})

test('what a caller gives is not frozen, and may change without changing a policy', () => {
  const given = options('sk-1')
  const target: { -readonly [field in keyof OpenAISettings]: OpenAISettings[field] } = settings('sk-1')
  const resolved = () =>
    resolvePolicy({}, { ...given, defaultTarget: target }).models.get('default')?.targets[0].settings
  const before = resolved()
  target.key = 'sk-2'
  expect(before).toMatchObject({ key: 'sk-1' })
  expect(resolved()).toMatchObject({ key: 'sk-2' })
})

test('what nothing else holds is collected and forgotten, and what is held stays the same object', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const { intern, size } = interner()
  const held = intern({ limits: [{ quota: -1 }] })
  for (let revision = 0; revision < 1_000; revision += 1) intern({ limits: [{ quota: revision }] })
  expect(size()).toBe(3 * 1_001)
  // The held object, its list and its limit.
  while (size() > 3) {
    await setImmediate()
    collect()
  }
  expect(intern({ limits: [{ quota: -1 }] })).toBe(held)
  expect(intern([{ quota: -1 }])).toBe(held.limits)
})
