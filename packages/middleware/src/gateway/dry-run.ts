import type { CompletionCache } from '../cache/index.ts'
import {
  type Admits,
  budget,
  type Limited,
  type Limiter,
  type LimitOptions,
  type LimitStatus,
  type LocalLimiter,
  type Metered,
  modelLimits,
  type Reservation,
  requestLimits,
  reservationFor,
} from '../limits/index.ts'
import { type Call, costOf, type Reply, refused } from '../operations/index.ts'
import {
  type GatewayRequest,
  type Handler,
  isRefusal,
  jsonResponse,
  pipeline,
  type Refusal,
  tokensRead,
  tokensWritten,
  type Usage,
} from '../pipeline/index.ts'
import type { WithPolicy } from '../policy/index.ts'
import { type CompletionsOptions, completions } from '../surfaces/index.ts'
import { cantBeAsked, fallback, type Routed, route, type Transport, translatable } from '../upstream/index.ts'
import { beyondOwnRate } from './own-rate.ts'

export interface DryRunOptions extends Pick<LimitOptions, 'wallClock'> {
  readonly limiter: Pick<Limiter, 'look'>
  readonly cache: Pick<CompletionCache, 'look'>
  /** By which it is known what a target can be asked. Sends nothing. */
  readonly transport: Pick<Transport, 'translation'>
  /** How often each consumer may ask in this process: a dry run is free, and not for nothing. */
  readonly guard: LocalLimiter
  readonly decoding: Omit<CompletionsOptions<object>, 'handler'>
}

/** Of a caller whose key is known. */
type Known = WithPolicy & Limited & { readonly consumer: { readonly id: string; readonly plan: string } }

const HEADER = 'x-tollgate-dry-run'

/** Whatever the header says but `false`: who has misspelt it must not be charged. */
export function isDryRun({ headers }: GatewayRequest): boolean {
  const value = headers.get(HEADER)
  return value !== null && value.trim().toLowerCase() !== 'false'
}

/** What is found out on a request's way. */
interface Findings {
  route?: string
  model?: string
  reason?: string
  candidates?: Routed['routed']['candidates']
  cache?: 'hit' | 'miss' | 'bypass'
  /** The most that it may take; nothing of a hit. */
  worst?: Worst | undefined
  readonly limits: LimitStatus[]
}

interface Worst {
  readonly usage: Usage
  /** `undefined` for a model without a price. */
  readonly nanoUsd: number | undefined
}

/**
 * Says what would become of a request (`x-tollgate-dry-run: true`), by the same middleware that it would go through: which model,
 * what the cache has, the most that it may cost, and what is left of each limit. Takes nothing from any limit, asks no model,
 * stores nothing, and answers 200: what would be refused is told as a verdict.
 */
export function dryRun({ limiter, cache, transport, guard, wallClock, decoding }: DryRunOptions): Handler<Known> {
  return async function dryRun(request, context) {
    const { tell } = context
    tell({ dryRun: true })
    const tooMany = beyondOwnRate(guard, context.consumer.id, (seconds) => ({
      message: `Too many dry runs. Come back in ${seconds} s.`,
      details: `dry runs: 60 at once, and one a second; come back in ${seconds} s`,
    }))
    if (tooMany !== undefined) return tooMany
    const found: Findings = { limits: [] }
    const looking: LimitOptions = { limiter: lookingAt(limiter, found.limits), wallClock }

    const onReserved = (reserved: Reservation) => {
      found.worst = worstOf(reserved)
    }
    const end: Handler<Known & Routed, Call, Reply> = async (call, { routed }) => {
      const candidates = translatable(transport, call.operation, routed.body, routed.candidates)
      if ('cannot' in candidates) {
        found.worst = undefined
        return { ...refused(cantBeAsked(routed.model.name, candidates)), fallible: true }
      }
      found.candidates = candidates
      found.worst ??= unlimitedWorst(call, routed)
      return refused(ENDS_HERE)
    }
    const asked = pipeline<Known & { readonly admitted: true } & Routed, Call, Reply>()
      .use(async function noted({ route: name }, { routed }, next) {
        found.route = name
        found.model = routed.model.name
        found.reason = routed.reason
        found.candidates = routed.candidates
        return next()
      })
      .use(modelLimits(looking))
      .use<{ readonly asked: true }>(async function lookedUp(call, inner, next) {
        const { outcome, refusal } = await cache.look(call, inner)
        found.cache = outcome
        if (refusal !== undefined) return refused(refusal)
        return outcome === 'hit' ? refused(ENDS_HERE) : next({ asked: true })
      })
      .use(budget({ ...looking, onReserved }))
      .handle(end)
    const calls = pipeline<Known & { readonly admitted: true }, Call, Reply>()
      .use(route({ maxOutputTokens: decoding.maxOutputTokens }))
      .handle(fallback(asked))
    const handler = pipeline<Known>()
      .use(requestLimits(looking))
      .handle(completions({ ...decoding, handler: calls }))

    const reply = await handler(request, context)
    const refusal = isRefusal(reply) && reply.code !== ENDS_HERE.code ? reply : undefined
    tell({ verdict: refusal?.code ?? verdictOf(found.cache) })
    const { 'retry-after': _wait, 'x-should-retry': _again, ...headers } = reply.headers ?? {}
    return jsonResponse(200, report(found, refusal), headers)
  }
}

/** Where the model would be asked, or the cache would answer. */
const ENDS_HERE: Refusal = { kind: 'refusal', code: 'dry_run', status: 200, message: 'A dry run asks no model.' }

/** A limiter that decides as the real one would, and takes nothing. @param seen told where each limit stands */
function lookingAt(limiter: Pick<Limiter, 'look'>, seen: LimitStatus[]): Admits {
  return {
    admitAtOnce: () => undefined,
    async admit(claims) {
      const decision = await limiter.look(claims)
      for (const status of decision.standings) {
        // A budget that has less left than was asked for is looked at twice.
        if (!seen.some(({ limit }) => limit === status.limit)) seen.push(status)
      }
      return decision
    },
  }
}

/** The most that a call may take which no limit counts; `undefined` where nobody can tell. */
function unlimitedWorst(call: Call, routed: Metered['routed']): Worst | undefined {
  const reservation = reservationFor([], call, routed)
  return isRefusal(reservation) || !reservation.isBounded ? undefined : worstOf(reservation)
}

function worstOf({ usage, price }: Reservation): Worst {
  return { usage, nanoUsd: price && costOf(usage, price) }
}

function report(
  { route, model, reason, candidates, cache, worst, limits }: Findings,
  refusal: Refusal | undefined,
): object {
  return {
    dry_run: true,
    verdict: refusal === undefined ? verdictOf(cache) : 'refused',
    refusal: refusal === undefined ? null : toldOf(refusal),
    route: route ?? null,
    model: model ?? null,
    reason: reason ?? null,
    candidates: candidates?.map(candidateText) ?? null,
    cache: cache ?? null,
    worst: worstText(worst, cache),
    limits: limits.map(({ limit, remaining, nextMs }) => ({
      limit: limit.name,
      counts: limit.measure === 'money' ? 'nano_usd' : limit.measure,
      of: limit.quota,
      left: remaining,
      more_in_seconds: Math.ceil(nextMs / 1_000),
    })),
  }
}

function candidateText({ target, tier }: Routed['routed']['candidates'][number]): object {
  return { target: target.id, zone: target.zone ?? null, tier: tier ?? null }
}

function verdictOf(cache: Findings['cache']): string {
  return cache === 'hit' ? 'answered_from_cache' : 'model_asked'
}

function toldOf({ status, code, message, param, headers }: Refusal): object {
  const retryAfter = headers?.['retry-after']
  return {
    status,
    code,
    message,
    param: param ?? null,
    retry_after_seconds: retryAfter === undefined ? null : Number(retryAfter),
  }
}

function worstText(worst: Worst | undefined, cache: Findings['cache']): object | null {
  if (cache === 'hit') return { input_tokens: 0, output_tokens: 0, nano_usd: 0 }
  if (worst === undefined) return null
  const { tokens } = worst.usage
  return { input_tokens: tokensRead(tokens), output_tokens: tokensWritten(tokens), nano_usd: worst.nanoUsd ?? null }
}
