import type * as Middleware from '@tollgate/middleware'
import type { CallParts } from './gateway-under-test.ts'
import { type PlayedCall, playedTransport } from './played-transport.ts'
import { random } from './random.ts'
import { type AskedFor, type RoutedScenario, routedScenario } from './routed-scenario.ts'
import type { virtualClock } from './virtual-clock.ts'
import { world } from './world.ts'

/*
 * Requests of several consumers for models before several targets, in simulated time, while the targets fail: by the real middleware from
 * `route` to `upstream`. The targets bill by themselves, and know who asked them.
 */

export interface RoutedOutcome {
  readonly seed: number
  readonly violations: readonly string[]
  readonly answered: number
  readonly refused: number
  readonly hits: number
  readonly calls: number
  /** What was asked and done, in the order of time: to be read where something is wrong. */
  readonly story: readonly string[]
  /** Calls of a request beyond its first. */
  readonly again: number
  /** Requests that were refused since no target is in their zones. */
  readonly zoned: number
}

/** Milliseconds. */
const DEADLINES = { firstByteMs: 3_000, idleMs: 2_000, totalMs: 10_000, streamTotalMs: 20_000 }
/** By then each request has ended, whatever it met. */
const OVER_MS = 120_000
const START = Date.UTC(2026, 5, 10)
const DEADLINE_MS = 2_000

interface Asked {
  readonly asked: AskedFor
  readonly requestId: string
  readonly facts: Middleware.ToldFacts
  /** The most that one call was reserved for, in nano-dollars. */
  reserved: number
  /** What calls took that went on when it had ended. */
  outlived: number
  firstByteAt: number | undefined
  leftAt: number | undefined
  isOver: boolean
}

export async function runRouted(
  seed: number,
  parts: CallParts,
  clock: ReturnType<typeof virtualClock>,
): Promise<RoutedOutcome> {
  const dice = random(seed)
  const here = world(START)
  clock.use(here)
  const scenario = routedScenario(dice)
  const violations: string[] = []
  const violate = (what: string) => {
    if (violations.length < 20) violations.push(`${Math.round(here.now() - START)} ms: ${what}`)
  }
  const asked = new Map<string, Asked>()
  const calls: PlayedCall[] = []
  const story: string[] = []
  const tellStory = (what: string) => void story.push(`${Math.round(here.now() - START)} ms: ${what}`)
  const counts = { answered: 0, refused: 0, hits: 0, zoned: 0 }
  const { policy, limiter, handler } = gatewayOf(scenario, parts, {
    dice,
    fault: (what) => violate(what),
    onCall(call) {
      for (const what of wrongOf(call, scenario, asked.get(call.requestId), calls)) violate(what)
      calls.push(call)
      const { requestId, target, tier = 'no tier', outcome } = call
      tellStory(`${requestId} asks ${target.name} (${tier}): ${outcome}`)
    },
  })

  async function ask(request: AskedFor, index: number): Promise<void> {
    const leaving = new AbortController()
    const requestId = `r${index}`
    const its: Asked = {
      ...{ asked: request, requestId, facts: {}, reserved: 0, outlived: 0 },
      ...{ firstByteAt: undefined, leftAt: undefined, isOver: false },
    }
    asked.set(requestId, its)
    tellStory(
      `${requestId} of ${request.consumer.id} (${request.consumer.plan}) for ${request.model}: ${JSON.stringify(request.body)}`,
    )
    if (request.leavesAfter !== undefined) {
      here.after(request.leavesAfter, () => {
        if (its.isOver) return
        its.leftAt = here.now()
        tellStory(`${requestId} leaves`)
        leaving.abort()
      })
    }
    const call: Middleware.Call = {
      operation: parts.chat,
      route: 'generate',
      model: request.model,
      streamed: request.streamed,
      bodyDigest: () => JSON.stringify(request.body),
      headers: new Headers(),
      signal: leaving.signal,
      body: parts.bodyOf(request.body),
    }
    const context = {
      policy,
      consumer: request.consumer,
      admitted: true as const,
      requestId,
      log(_level: string, event: string, fields: object = {}) {
        if (event === 'fault') violate(`a fault of ${requestId}: ${JSON.stringify(fields)}`)
      },
      tell(facts: Middleware.Facts) {
        const { outlived, ...told } = facts
        if (outlived === undefined) parts.addFacts(its.facts, told)
        else its.outlived += told.costNanoUsd ?? 0
      },
      step(name: string, _decision: string, more: Middleware.Story = {}) {
        if (name === 'budget') its.reserved = Math.max(its.reserved, more.reserved?.costNanoUsd ?? 0)
      },
    }
    try {
      const reply = await handler(call, context)
      tellStory(`${requestId} gets ${reply.kind === 'refused' ? reply.refusal.code : reply.kind}`)
      if (reply.kind === 'refused') {
        counts.refused += 1
        if (reply.refusal.code === 'zone_not_allowed') counts.zoned += 1
        for (const what of wrongRefusal(reply.refusal)) violate(`${requestId}: ${what}`)
      } else {
        its.firstByteAt = here.now()
        counts.answered += 1
        if (its.facts.cache === 'hit') counts.hits += 1
        const text = await textOf(reply)
        for (const what of wrongAnswer(text, request, scenario)) violate(`${requestId}: ${what}`)
      }
    } catch (fault) {
      violate(`${requestId} threw ${(fault as Error).stack}`)
    }
    its.isOver = true
    tellStory(`${requestId} is over: ${JSON.stringify(its.facts)}`)
  }

  for (const [index, request] of scenario.requests.entries()) here.after(request.at, () => void ask(request, index))
  const isOver = () => asked.size === scenario.requests.length && [...asked.values()].every((each) => each.isOver)
  for (let second = 1; second * 1_000 <= OVER_MS && !isOver(); second += 1) {
    await here.runUntil(START + second * 1_000, () => {})
  }
  // For calls that go on for others, and for what is told a moment later.
  await here.runUntil(here.now() + 1_000, () => {})
  for (const { requestId, isOver } of asked.values()) if (!isOver) violate(`${requestId} has not ended`)
  for (const its of asked.values()) {
    for (const what of wrongCharge(its, calls)) violate(`${its.requestId}: ${what}`)
  }
  for (const what of await wrongLimits([...asked.values()], policy, limiter, parts, here)) violate(what)
  const closing = limiter.close()
  await here.runUntil(here.now() + 5_000, () => {})
  await closing
  const again = calls.length - new Set(calls.map(({ requestId }) => requestId)).size
  return { seed, violations, ...counts, calls: calls.length, story, again }
}

interface Watching {
  readonly dice: ReturnType<typeof random>
  readonly fault: (what: string) => void
  readonly onCall: (call: PlayedCall) => void
}

type Given = {
  readonly policy: Middleware.Policy
  readonly consumer: { readonly id: string; readonly plan: string }
  readonly admitted: true
}

/** As `createGateway` composes it, from the model on. */
function gatewayOf({ document, models }: RoutedScenario, parts: CallParts, { dice, fault, onCall }: Watching) {
  const policy = parts.resolvePolicy(document, {
    source: 'the simulator',
    bounds: { env: { KEY: 'k' }, hosts: [], readable: ['KEY'] },
    defaultTarget: undefined,
  })
  const wallClock = () => Date.now()
  const limiter = parts.limiter({
    store: parts.memoryCounterStore({ wallClock, now: () => performance.now() }),
    deadlineMs: DEADLINE_MS,
    random: dice.next,
    events: { fault: (subject, thrown) => fault(`a fault at ${subject}: ${(thrown as Error).stack}`) },
  })
  const log = () => {}
  const cache = parts.completionCache({
    local: parts.localTier({ maxBytes: 1_000_000, maxAgeMs: 60_000 }),
    shared: parts.memoryCacheStore({ maxBytes: 1_000_000 }),
    purgeVersions: parts.purgeVersions({
      store: parts.memoryGenerationStore({ wallClock }),
      deadlineMs: DEADLINE_MS,
      log,
    }),
    digest: parts.digestWith(undefined),
    deadlineMs: DEADLINE_MS,
    log,
    random: dice.next,
  })
  const balancer = parts.weighted({ time: parts.systemTime, random: dice.next })
  const calls = parts
    .pipeline<Given & Middleware.Routed, Middleware.Call, Middleware.Reply>()
    .use(parts.modelLimits({ limiter, wallClock }))
    .use(cache)
    .use(parts.budget({ limiter, wallClock }))
    .handle(
      parts.upstream({
        ...DEADLINES,
        balancer,
        retry: parts.retryWithinBudget({ time: parts.systemTime, random: dice.next }),
        transport: playedTransport({
          ConnectionFailed: parts.ConnectionFailed,
          models,
          dice,
          now: () => performance.now(),
          onCall,
        }),
      }),
    )
  const handler = parts
    .pipeline<Given, Middleware.Call, Middleware.Reply>()
    .use(parts.route({ maxOutputTokens: 100 }))
    .handle(parts.fallback(calls, DEADLINES))
  return { policy, limiter, handler }
}

async function textOf(reply: Exclude<Middleware.Reply, { kind: 'refused' }>): Promise<string> {
  if (reply.kind === 'answer') return reply.answer.bytes.toString()
  let text = ''
  try {
    for (let came = await reply.events.read(); came !== undefined; came = await reply.events.read()) {
      for (const { bytes } of came) text += Buffer.from(bytes)
    }
  } catch {
    // A stream may break off; what has come counts.
  }
  await reply.ended
  return text
}

/** What is wrong with a call, as its target sees it. */
function wrongOf(
  { target, model, requestId, tier, at }: PlayedCall,
  { plans, document }: RoutedScenario,
  its: Asked | undefined,
  before: readonly PlayedCall[],
): string[] {
  if (its === undefined) return [`a call of ${requestId}, which nobody has asked`]
  const { consumer } = its.asked
  const plan = plans.get(consumer.plan)
  const found: string[] = []
  const place = `${requestId} asks ${target.name}`
  const { zones, models, tiers } = plan ?? {}
  if (zones !== undefined && !zones.includes(target.zone ?? '')) {
    found.push(`${place} in zone ${target.zone}, and its plan has ${zones.join(', ')}`)
  }
  if (models !== undefined && !namesOf(model.name, document).some((name) => models.has(name))) {
    found.push(`${place}, and its plan has the models ${[...models].join(', ')}`)
  }
  const usual = placeOf(tier)
  if (tiers !== undefined && !tiers.includes(usual))
    found.push(`${place} for tier ${usual}, and its plan has ${tiers.join(', ')}`)
  const own = before.filter((call) => call.requestId === requestId && call.model === model)
  if (own.length >= model.attempts) found.push(`${place}, which is call ${own.length + 1} of ${model.attempts}`)
  if (own.some(({ hasBegun }) => hasBegun)) found.push(`${place}, and the model had begun an answer`)
  if (its.firstByteAt !== undefined) found.push(`${place}, and its caller has an answer`)
  for (const { blocked, ...other } of before) {
    // A model that is asked once leaves to its callers when that is.
    if (blocked === undefined || model.attempts === 1 || other.target !== target) continue
    if (placeOf(other.tier) !== placeOf(tier)) continue
    if (at > blocked.since && at < blocked.until)
      found.push(`${place}, which is to be left alone for ${blocked.until - at} ms`)
  }
  return found
}

/** A service's usual tier has several names, and none. */
function placeOf(tier: string | undefined): string {
  return tier === undefined || tier === 'auto' ? 'default' : tier
}

/** A model's own name, and its aliases: who may use one may use the other. */
function namesOf(model: string, document: object): string[] {
  const { models } = document as { readonly models: Readonly<Record<string, { readonly alias?: string }>> }
  return [model, ...Object.keys(models).filter((name) => models[name]?.alias === model)]
}

/** What an answer may not say: it names the target that gave it, now or when it was stored. */
function wrongAnswer(text: string, { consumer }: AskedFor, { plans, models }: RoutedScenario): string[] {
  const { zones } = plans.get(consumer.plan) ?? {}
  const [, name] = /"model":"([\w-]+)"/.exec(text) ?? []
  const target = [...models.values()].flatMap(({ targets }) => targets).find((each) => each.name === name)
  if (target === undefined) return [`an answer of nobody: ${text.slice(0, 80)}`]
  if (zones === undefined || zones.includes(target.zone ?? '')) return []
  return [`it is answered from ${target.name} in zone ${target.zone}, and its plan has ${zones.join(', ')}`]
}

/** What the gateway may not say of these requests. */
const UNEXPECTED: ReadonlySet<string> = new Set([
  'internal_error',
  'input_unbounded',
  'invalid_request',
  'model_not_found',
  'model_not_priced',
  'not_configured',
  'plan_unavailable',
  'store_unavailable',
])

function wrongRefusal({ code, message, headers }: Middleware.Refusal): string[] {
  if (UNEXPECTED.has(code)) return [`refused with ${code}: ${message}`]
  if (code === 'upstream_unavailable' && headers?.['retry-after'] === undefined) return [`${code} says no time`]
  return []
}

/** What was told for is charged exactly; what was not told, for no more than was reserved, and no less than it was. */
function wrongCharge({ requestId, facts, reserved, outlived, leftAt }: Asked, calls: readonly PlayedCall[]): string[] {
  const own = calls.filter((call) => call.requestId === requestId)
  // Who leaves may not hear what is told.
  const mostOf = ({ taken, bill }: PlayedCall) =>
    taken === 'told' && leftAt === undefined ? bill : Math.max(bill, reserved)
  const spent = own.filter(({ taken }) => taken !== 'nothing')
  const least = spent.reduce((sum, { bill }) => sum + bill, 0)
  const most = spent.reduce((sum, call) => sum + mostOf(call), 0)
  const charged = (facts.costNanoUsd ?? 0) + outlived
  if (charged >= least && charged <= most) return []
  const what = own.map(({ target, outcome, bill }) => `${target.name} ${outcome} ${bill}`).join(', ')
  return [`${charged} nano-dollars were charged, and it is from ${least} to ${most} (${what}; ${reserved} reserved)`]
}

/** Nothing is left that was reserved: what a budget has left is what it had, but for what was charged. */
async function wrongLimits(
  all: readonly Asked[],
  policy: Middleware.Policy,
  limiter: Middleware.Limiter,
  parts: CallParts,
  here: ReturnType<typeof world>,
): Promise<string[]> {
  const found: string[] = []
  for (const consumer of new Set(all.map(({ asked }) => asked.consumer))) {
    const subjects = parts.subjectsOf(policy, consumer)
    if (parts.isRefusal(subjects)) continue
    const claims = subjects.flatMap((subject) =>
      subject.limits.filter(({ measure }) => measure === 'money').map((limit) => ({ subject, limit, units: 0 })),
    )
    const looking = limiter.look(claims)
    await here.runUntil(here.now() + 1_000, () => {})
    const { standings } = await looking
    const charged = all
      .filter(({ asked }) => asked.consumer === consumer)
      .reduce((sum, { facts, outlived }) => sum + (facts.costNanoUsd ?? 0) + outlived, 0)
    for (const { limit, remaining } of standings) {
      if (remaining + charged === limit.quota) continue
      found.push(`${consumer.id} has ${remaining} left of ${limit.quota}, and was charged ${charged}`)
    }
  }
  return found
}
