import type { Random } from './random.ts'

/*
 * Models before several targets each, and models over models; plans that keep to zones, models and tiers; and what is asked. As a policy
 * would have it, so that it goes the way of one.
 */

/** What a target says of itself, to be held against what it is asked. */
export interface PlacedTarget {
  /** The name by which its server knows the model; unique. */
  readonly name: string
  readonly model: string
  readonly zone: string | undefined
  readonly ptu: boolean
  readonly priority: number
}

export interface SimulatedModel {
  readonly name: string
  readonly targets: readonly PlacedTarget[]
  /** Calls of one request, at the most. */
  readonly attempts: number
  readonly price: { readonly input: number; readonly output: number; readonly tiers: Tiers; readonly zone: number }
}

/** How many times as much tokens cost in each tier. */
type Tiers = Readonly<Record<string, number>>

export interface SimulatedPlan {
  readonly name: string
  readonly zones: readonly string[] | undefined
  /** With all that they stand for; `undefined` for all. */
  readonly models: ReadonlySet<string> | undefined
  readonly tiers: readonly string[] | undefined
  readonly nanoUsd: number
}

export interface AskedFor {
  readonly at: number
  readonly consumer: { readonly id: string; readonly plan: string }
  readonly model: string | undefined
  readonly body: Readonly<Record<string, unknown>>
  readonly streamed: boolean
  /** Milliseconds after which its client leaves; `undefined` where it stays. */
  readonly leavesAfter: number | undefined
}

export interface RoutedScenario {
  readonly document: object
  readonly models: ReadonlyMap<string, SimulatedModel>
  readonly plans: ReadonlyMap<string, SimulatedPlan>
  readonly requests: readonly AskedFor[]
}

const ZONES = ['eu', 'us', 'ap']
const MOST_ATTEMPTS = 3

export function routedScenario(dice: Random): RoutedScenario {
  const names = Array.from({ length: dice.whole(1, 4) }, (_, index) => `m${index}`)
  const models = new Map(names.map((name) => [name, anyModel(name, dice)]))
  const documents: Record<string, object> = {}
  for (const [index, name] of names.entries()) {
    const later = names.slice(index + 1)
    // Only to later ones, so that none comes back to itself.
    documents[name] = documentOf(
      models.get(name),
      dice,
      dice.chance(0.5) && later.length > 0 ? dice.pick(later) : undefined,
    )
  }
  const virtual = anyVirtual(names, dice)
  Object.assign(documents, virtual)
  const all = [...names, ...Object.keys(virtual)]
  const plans = new Map(
    Array.from({ length: dice.whole(1, 3) }, (_, index) => `p${index}`).map((name) => [
      name,
      anyPlan(name, { models, virtual }, dice),
    ]),
  )
  const scope = dice.pick(['consumer', 'plan', 'shared'])
  const isCached = dice.chance(0.5)
  return {
    document: {
      models: documents,
      plans: Object.fromEntries(Array.from(plans.values(), (plan) => [plan.name, planDocument(plan)])),
      routes: { generate: { model: dice.pick(all), cache: isCached ? { scope, sampled: true } : false } },
    },
    models,
    plans,
    requests: requestsOf([...plans.keys()], all, dice),
  }
}

function anyModel(name: string, dice: Random): SimulatedModel {
  const targets = Array.from({ length: dice.whole(1, 4) }, (_, index) => ({
    name: `${name}-t${index}`,
    model: name,
    zone: dice.chance(0.25) ? undefined : dice.pick(ZONES),
    ptu: dice.chance(0.15),
    priority: dice.whole(1, 2),
  }))
  return {
    name,
    targets,
    attempts: dice.chance(0.6) ? MOST_ATTEMPTS : dice.whole(1, MOST_ATTEMPTS),
    price: {
      input: dice.whole(1, 5),
      output: dice.whole(1, 20),
      tiers: dice.chance(0.5) ? { flex: 0.5 } : {},
      zone: dice.chance(0.3) ? 1.1 : 1,
    },
  }
}

function documentOf(model: SimulatedModel | undefined, dice: Random, fallback: string | undefined): object {
  if (model === undefined) throw new Error('A model is missing')
  const { targets, attempts, price } = model
  const { input, output, tiers, zone } = price
  return {
    targets: targets.map(({ name, zone, ptu, priority }) => ({
      openai: { model: name, key: { env: 'KEY' } },
      priority,
      ...(dice.chance(0.3) && { weight: dice.whole(1, 9) }),
      ...(zone !== undefined && { zone }),
      ...(ptu && { ptu }),
    })),
    price: { input, output, ...(Object.keys(tiers).length > 0 && { tiers }), ...(zone !== 1 && { zone }) },
    ...('flex' in tiers && dice.chance(0.6) && { tiers: ['flex', 'default'] }),
    // Each may be made again: the process's own bound has schedules of its own.
    retry: { attempts, budget: dice.pick(['10%', '100%', '100%']) },
    ...(fallback !== undefined && { fallback }),
  }
}

function anyVirtual(names: readonly string[], dice: Random): Record<string, object> {
  const virtual: Record<string, object> = {}
  if (dice.chance(0.5)) virtual.alias = { alias: dice.pick(names) }
  const [first, second] = names
  if (second !== undefined && first !== undefined) {
    if (dice.chance(0.5)) {
      virtual.split = {
        split: { [first]: dice.whole(1, 9), [second]: dice.whole(1, 9) },
        by: dice.pick(['consumer', 'request']),
      }
    }
    if (dice.chance(0.5)) {
      virtual.ruled = { route: { small: first, large: second, rules: [{ tokens: dice.whole(1, 40), use: 'large' }] } }
    }
  }
  return virtual
}

const DOLLAR = 1_000_000_000

interface Named {
  readonly models: ReadonlyMap<string, SimulatedModel>
  readonly virtual: Readonly<Record<string, { readonly alias?: string }>>
}

/** A plan that can use something: a policy may not have another. */
function anyPlan(name: string, { models, virtual }: Named, dice: Random): SimulatedPlan {
  const some = <T>(from: Iterable<T>) => [...from].filter(() => dice.chance(0.5))
  const listed = dice.chance(0.6) ? [] : some(models.keys())
  const usable = listed.length === 0 ? [...models.keys()] : listed
  const there = ZONES.filter((zone) =>
    usable.some((each) => models.get(each)?.targets.some((target) => target.zone === zone)),
  )
  const zones = dice.chance(0.3) ? [] : some(there)
  const { alias, ...others } = virtual
  // An alias stands for its model as well; of what a split or a route picks one must be listed at the least.
  const names = listed.map((each) => (alias?.alias === each && dice.chance(0.5) ? 'alias' : each))
  const [first, second] = models.keys()
  if (listed.some((each) => each === first || each === second)) names.push(...some(Object.keys(others)))
  return {
    name,
    zones: zones.length === 0 ? undefined : zones,
    models: names.length === 0 ? undefined : new Set(names),
    tiers: dice.chance(0.6) ? undefined : dice.pick([['default'], ['flex', 'default'], ['flex']]),
    // Some of them so small that it does not cover a second attempt.
    nanoUsd: dice.chance(0.3) ? dice.whole(1, 20) * (DOLLAR / 10_000) : DOLLAR,
  }
}

function planDocument({ zones, models, tiers, nanoUsd }: SimulatedPlan): object {
  return {
    limits: [
      { usd: nanoUsd / DOLLAR, per: 'month' },
      { tokens: 1_000_000, per: 'month' },
    ],
    ...(zones && { zones }),
    ...(models && { models: [...models] }),
    ...(tiers && { tiers }),
  }
}

function requestsOf(plans: readonly string[], models: readonly string[], dice: Random): AskedFor[] {
  const consumers = Array.from({ length: dice.whole(1, 4) }, (_, index) => ({
    id: `c${index}`,
    plan: dice.pick(plans),
  }))
  const most = dice.pick([5, 200, 5_000])
  return Array.from({ length: dice.whole(3, 10) }, () => {
    const streamed = dice.chance(0.4)
    const text = `Why ${dice.whole(1, 3)}?${' And then?'.repeat(dice.pick([0, 0, 12]))}`
    return {
      at: dice.between(0, most),
      consumer: dice.pick(consumers),
      model: dice.chance(0.15) ? undefined : dice.pick(models),
      streamed,
      body: {
        messages: [{ role: 'user', content: text }],
        max_tokens: dice.pick([20, 60]),
        ...(streamed && { stream: true }),
        ...(dice.chance(0.15) && { service_tier: dice.pick(['flex', 'default', 'auto']) }),
      },
      leavesAfter: dice.chance(0.1) ? dice.interval(500) : undefined,
    }
  })
}
