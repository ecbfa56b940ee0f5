import type {
  BaseContext,
  Call,
  Claim,
  Facts,
  Limiter,
  Policy,
  Reply,
  SendOptions,
  Source,
  Transport,
  TransportAnswer,
} from '@tollgate/middleware'
import type { BillCase, Json } from '../bill/bill-case.ts'
import {
  anyRequest,
  CONTEXT_WINDOW,
  DOUBLE_PRICE,
  type DoubleCall,
  type DoubleOptions,
  eventsOf,
  modelDouble,
  OLD_PRICE,
} from '../bill/model-double.ts'
import type { CallParts } from './gateway-under-test.ts'
import { type Machine, machine } from './machine.ts'
import { type Random, random } from './random.ts'
import { type Phase, scenario } from './scenario.ts'
import { NO_FAULTS, SimulatedFault, sharedStore } from './shared-store.ts'
import { world } from './world.ts'

/*
 * A consumer with ten dollars, who sets what moves a price as they like, in schedules of crashes, stalls and a failing store.
 * The model bills by itself; what it bills may never be more than ten dollars.
 */

export const BUDGET_NANO_USD = 10_000_000_000
const CONSUMER = { id: 'a', plan: 'ten' }
/** Given back where it lies idle, by then. */
const IDLE_MS = 8_000
const REFUSED_IN_A_ROW = 12
const DEADLINE_MS = 2_000
/** Real milliseconds: no call in simulated time comes near it. */
const NEVER_MS = 600_000

export interface BilledOutcome {
  readonly seed: number
  readonly violations: readonly string[]
  readonly answered: number
  readonly refused: number
  readonly failed: number
  /** What the model bills, in dollars. */
  readonly billed: number
  /** Whether all of the budget should have been usable, but for what the promise leaves. */
  readonly wasDrained: boolean
}

/**
 * Runs one schedule, all drawn from the seed.
 *
 * @param hasOldPrice whether the model's price names no cache, and the model writes to its own only where it is asked to. What is
 * settled then is more than is billed.
 */
export async function runBilled(seed: number, parts: CallParts, hasOldPrice = false): Promise<BilledOutcome> {
  const dice = random(seed)
  const plan = scenario(dice)
  const large = dice.chance(0.7)
  const isCalm = dice.chance(0.3)
  const target = dice.pick(TARGETS)
  // By the seed, and not by the dice: what they draw for the other schedules stays the same.
  const searches = !hasOldPrice && seed % 5 === 4
  const start = Date.UTC(2026, 5, 10)
  const here = world(start)
  const violations: string[] = []
  const violate = (what: string) => {
    if (violations.length < 20) violations.push(`${Math.round(here.now() - start)} ms: ${what}`)
  }
  const faults = isCalm ? NO_FAULTS : plan.faults
  const store = sharedStore(here, dice, { onWrite: () => {} })
  const policy = policyOf(parts, target, { hasOldPrice, searches })
  const ended = new AbortController()
  const counts = { answered: 0, refused: 0, failed: 0 }
  /** What the model made of each call, by the request's id. */
  const calls = new Map<string, DoubleCall>()
  let requests = 0
  let billed = 0n
  let largest = 0

  const bill = (requestId: string, call: DoubleCall) => {
    calls.set(requestId, call)
    billed += call.nanoUsd
    if (billed > BUDGET_NANO_USD) violate(`the model bills ${Number(billed) / 1e9} dollars of 10`)
  }

  function boot(): Instance {
    const its = machine(here, dice)
    const limiter = parts.limiter({
      store: store.from(its),
      deadlineMs: DEADLINE_MS,
      time: its.time,
      random: dice.next,
      events: {
        fault: (subject, thrown) => violate(`a fault at ${subject}: ${(thrown as Error).stack}`),
        storeFailed(cause) {
          const isTimeout = cause instanceof DOMException && cause.name === 'TimeoutError'
          if (!(cause instanceof SimulatedFault || isTimeout)) violate(`the store is said to fail: ${cause}`)
        },
      },
    })
    const measure = (claims: readonly Claim[]) => {
      largest = Math.max(largest, ...claims.map(({ units }) => units))
      return claims
    }
    const watched: Limiter = {
      ...limiter,
      admit: (claims) => limiter.admit(measure(claims)),
      admitAtOnce: (claims) => limiter.admitAtOnce(measure(claims)),
    }
    const transport = simulatedModel(its, dice, { target, isCalm, writesAsked: hasOldPrice, searches }, bill)
    const wallClock = its.time.wallClock
    const calls = parts
      .pipeline<Given, Call, Reply>()
      .use(parts.route({ maxOutputTokens: 1_000 }))
      .use(parts.budget({ limiter: watched, wallClock }))
      .handle(
        parts.upstream({
          transport,
          firstByteMs: NEVER_MS,
          totalMs: NEVER_MS,
          idleMs: NEVER_MS,
          streamTotalMs: NEVER_MS,
        }),
      )
    return { machine: its, limiter, calls: async (call, context) => calls(call, context) }
  }

  /** @returns whether the budget had room for it; `undefined` where nobody knows */
  async function ask(instance: Instance, body: Json): Promise<boolean | undefined> {
    const leaving = new AbortController()
    const signal = AbortSignal.any([leaving.signal, ended.signal])
    if (!isCalm && dice.chance(0.1)) instance.machine.time.after(dice.interval(2_000), () => leaving.abort())
    const told: Facts = {}
    requests += 1
    const requestId = `r${requests}`
    const context = {
      policy,
      consumer: CONSUMER,
      admitted: true as const,
      asked: true as const,
      requestId,
      log: () => {},
      tell: (facts: Facts) => void Object.assign(told, facts),
      step: () => {},
    }
    const streamed = body.stream === true
    const call: Call = {
      operation: parts.chat,
      route: 'generate',
      model: undefined,
      streamed,
      bodyDigest: () => 'd',
      headers: new Headers(),
      signal,
      body: parts.bodyOf(body),
    }
    try {
      const reply = await instance.calls(call, context)
      let isWhole = reply.kind === 'answer'
      if (reply.kind === 'stream') {
        while ((await reply.events.read().catch(() => undefined)) !== undefined);
        isWhole = (await reply.ended).how === 'complete'
      }
      compare(calls.get(requestId), told, isWhole)
      if (reply.kind !== 'refused') {
        counts.answered += 1
        return true
      }
      const { code } = reply.refusal
      if (code === 'insufficient_quota' || code === 'request_too_expensive') {
        counts.refused += 1
        return false
      }
      counts.failed += 1
      if (UNEXPECTED.has(code)) violate(`refused with ${code}: ${reply.refusal.message}`)
      return undefined
    } catch (fault) {
      counts.failed += 1
      violate(`a call threw ${(fault as Error).stack}`)
      return undefined
    }
  }

  /** What the gateway charges is what is billed where the answer tells all, and never less. */
  function compare(call: DoubleCall | undefined, { costNanoUsd: charged = 0 }: Facts, isWhole: boolean): void {
    if (call === undefined) return
    const bill = Number(call.nanoUsd)
    if (charged < bill) violate(`${charged} nano-dollars were charged of ${bill} (${call.outcome})`)
    if (!hasOldPrice && isWhole && call.tellsAll && charged !== bill)
      violate(`${charged} nano-dollars were charged for ${bill}`)
  }

  const instances = Array.from({ length: plan.instances }, boot)
  const alive = () => instances.filter(({ machine }) => !machine.crashed())
  const asking = () => ({ ...anyRequest(dice, { large }), ...(dice.chance(0.4) ? { stream: true } : {}) })

  function crash({ machine }: Instance): void {
    if (machine.crashed()) return
    machine.crash()
    instances.push(boot())
  }

  function disturb(instance: Instance): void {
    const { machine, limiter } = instance
    if (dice.chance(plan.wallSteps)) machine.setWallClock(dice.between(plan.stalls > 0 ? 0 : -3_000, 3_000))
    if (dice.chance(plan.stalls)) machine.stall(dice.between(100, 12_000), dice.chance(0.5))
    if (dice.chance(plan.partitions)) store.cutOff(machine, dice.between(1_000, 60_000), dice.next())
    if (!dice.chance(plan.crashes)) return
    const isAnnounced = dice.chance(0.5)
    if (isAnnounced) machine.deliver(() => void limiter.close())
    here.after(isAnnounced ? dice.between(1, 3_000) : 0, () => crash(instance))
  }

  function arrivals(phase: Phase, end: number): void {
    const mean = 1_000 / phase.perSecond
    const arrive = () => {
      if (here.now() >= end) return
      const instance = dice.pick(alive())
      instance.machine.deliver(() => void ask(instance, asking()))
      here.after(dice.interval(mean), arrive)
    }
    if (phase.perSecond > 0) here.after(dice.interval(mean), arrive)
  }

  async function run(phase: Phase): Promise<void> {
    const end = here.now() + phase.ms
    arrivals(phase, end)
    for (let second = 0; second < phase.ms; second += 1_000) {
      here.after(second, () => {
        if (dice.chance(phase.bursts)) {
          const instance = dice.pick(alive())
          for (let count = 0; count < phase.burst; count += 1) {
            instance.machine.deliver(() => void ask(instance, asking()))
          }
        }
        if (!isCalm) for (const instance of alive()) disturb(instance)
      })
    }
    await here.runUntil(end, () => {})
  }

  /** Asks for little, one at a time, until there is no more; so that what is left is what nobody could use. */
  async function drain(): Promise<void> {
    await here.runUntil(here.now() + 120_000, () => {})
    let refused = 0
    while (refused < REFUSED_IN_A_ROW && violations.length === 0) {
      let isOver = false
      const little = { ...anyRequest(dice, { large: false }), max_completion_tokens: large ? 200 : 20 }
      void ask(dice.pick(alive()), little).then((fitted) => {
        isOver = true
        refused = fitted === false ? refused + 1 : 0
      })
      for (let waited = 0; !isOver && waited < 300; waited += 1) await here.runUntil(here.now() + 1_000, () => {})
      if (!isOver) return violate('a call has not ended in five minutes')
      if (refused > 0) await here.runUntil(here.now() + IDLE_MS, () => {})
    }
  }

  store.setFaults(faults)
  for (const phase of plan.phases) await run(phase)
  store.setFaults(NO_FAULTS)
  if (isCalm) {
    await drain()
    const unusable = largest <= BUDGET_NANO_USD / 100 ? BUDGET_NANO_USD / 20 : 2 * largest
    if (!hasOldPrice && Number(billed) < BUDGET_NANO_USD - unusable) {
      violate(`only ${Number(billed) / 1e9} dollars of 10 were usable; the largest reservation was ${largest / 1e9}`)
    }
  } else await here.runUntil(here.now() + 120_000, () => {})
  ended.abort()
  await new Promise(setImmediate)
  return { seed, violations, ...counts, billed: Number(billed) / 1e9, wasDrained: isCalm }
}

interface Given {
  readonly policy: Policy
  readonly consumer: typeof CONSUMER
  readonly admitted: true
  readonly asked: true
}

interface Instance {
  readonly machine: Machine
  readonly limiter: Limiter
  readonly calls: (call: Call, context: BaseContext & Given) => Promise<Reply>
}

/** What the gateway may not say of these requests. */
const UNEXPECTED: ReadonlySet<string> = new Set([
  'invalid_request',
  'input_unbounded',
  'model_not_priced',
  'not_configured',
])

/** A usual one, one whose zone costs more, and a provisioned one that spills over. */
const TARGETS: readonly BillCase['target'][] = [
  { kind: 'openai' },
  { kind: 'openai', zone: 'eu' },
  { kind: 'openai', ptu: true },
]
const policies = new WeakMap<CallParts, Map<string, Policy>>()

function policyOf(
  parts: CallParts,
  target: BillCase['target'],
  { hasOldPrice, searches }: { readonly hasOldPrice: boolean; readonly searches: boolean },
): Policy {
  const known = policies.get(parts) ?? new Map<string, Policy>()
  policies.set(parts, known)
  const key = JSON.stringify([target, hasOldPrice, searches])
  const price = hasOldPrice ? OLD_PRICE : DOUBLE_PRICE
  let policy = known.get(key)
  if (policy === undefined) {
    const { kind: _kind, ...more } = target
    const targets = [{ openai: { model: searches ? 'gpt-4o-search-preview' : 'double', key: { env: 'KEY' } }, ...more }]
    policy = parts.resolvePolicy(
      {
        plans: { ten: { limits: [{ usd: BUDGET_NANO_USD / 1e9, per: 'month' }] } },
        models: { default: { targets, price, contextWindow: CONTEXT_WINDOW } },
      },
      {
        source: 'the simulator',
        bounds: { env: { KEY: 'k' }, hosts: [], readable: ['KEY'] },
        defaultTarget: undefined,
      },
    )
    known.set(key, policy)
  }
  return policy
}

/** The way to the model in simulated time. What it bills, it bills when it is asked. */
function simulatedModel(
  its: Machine,
  dice: Random,
  options: DoubleOptions,
  bill: (requestId: string, call: DoubleCall) => void,
): Transport {
  const wait = (ms: number) => new Promise<void>((resolve) => void its.time.after(ms, resolve))
  return {
    async send(
      _target,
      _operation,
      bytes,
      { signal, progress, requestId = '' }: SendOptions,
    ): Promise<TransportAnswer> {
      const body: Json = JSON.parse(Buffer.from(bytes ?? []).toString())
      await Promise.race([wait(dice.between(1, 30)), aborted(signal)])
      signal.throwIfAborted()
      progress.sent = true
      const call = modelDouble(dice, body, options)
      bill(requestId, call)
      await Promise.race([wait(Math.min(90_000, dice.interval(dice.pick([50, 2_000, 20_000])))), aborted(signal)])
      signal.throwIfAborted()
      if (call.answer === undefined) throw new DOMException('The connection broke', 'TimeoutError')
      const { status, headers, body: json } = call.answer
      const isStream = status === 200 && body.stream === true
      const pieces = isStream ? eventsOf(json) : [JSON.stringify(json)]
      const type = isStream ? { 'content-type': 'text/event-stream' } : {}
      return {
        status,
        headers: { ...headers, ...type },
        body: sourceOf(pieces, () => wait(dice.between(0, 200)), signal),
      }
    },
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

function sourceOf(pieces: readonly string[], pause: () => Promise<void>, signal: AbortSignal): Source<Uint8Array> {
  let at = 0
  let isCancelled = false
  return {
    async read() {
      if (isCancelled || at >= pieces.length) return undefined
      if (at > 0) await Promise.race([pause(), aborted(signal)])
      signal.throwIfAborted()
      at += 1
      return isCancelled ? undefined : Buffer.from(pieces[at - 1] ?? '')
    },
    cancel() {
      isCancelled = true
    },
  }
}
