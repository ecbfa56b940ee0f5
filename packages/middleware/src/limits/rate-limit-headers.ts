import type { ReplyHeaders } from '../pipeline/index.ts'
import { type Limit, largestClaim, type Measure } from '../policy/index.ts'
import { epochAt } from './accounts/budget.ts'
import type { LimitStatus } from './leases/decision.ts'

/** Quota units of draft-ietf-httpapi-ratelimit-headers, section 2.1: the first two are its own, the others ours. */
const UNITS: Readonly<Record<Measure, string | undefined>> = {
  requests: undefined,
  concurrency: 'concurrent-requests',
  tokens: 'tokens',
  input: 'input-tokens',
  output: 'output-tokens',
  money: 'micro-usd',
}

const NANO_IN_MICRO = 1_000

/**
 * The headers with those that tell where limits stand, before what middleware further in have told of theirs.
 *
 * `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers): quota `q` for each window of `w` seconds,
 * `r` units left, `t` seconds until more come back. `qu` names the unit where it is not requests. A bucket's `w` is its
 * period, and our own parameter `burst` says how many may come beyond its steady rate, so that a first window of
 * q + burst + refill surprises nobody; a budget's `w` is its present window's length; concurrency has none. Money is told
 * in whole micro-dollars, rounded down: a budget in nano-dollars can have more digits than a header's integers may.
 *
 * `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, as OpenAI has them, tell of the limit with the least left.
 *
 * @param now milliseconds since 1970
 */
export function addRateLimits(headers: ReplyHeaders, standings: readonly LimitStatus[], now: number): ReplyHeaders {
  if (standings.length === 0) return headers
  const added: Record<string, string> = {
    ...headers,
    'ratelimit-policy': before(
      headers['ratelimit-policy'],
      standings.map(({ limit }) => policyText(limit, now)),
    ),
    ratelimit: before(headers.ratelimit, standings.map(stateText)),
  }
  addTightest(added, REQUESTS, tightest(standings, OF_REQUESTS))
  addTightest(added, TOKENS, tightest(standings, OF_TOKENS))
  return added
}

interface OpenaiNames {
  readonly limit: string
  readonly remaining: string
  readonly reset: string
}

const REQUESTS: OpenaiNames = {
  limit: 'x-ratelimit-limit-requests',
  remaining: 'x-ratelimit-remaining-requests',
  reset: 'x-ratelimit-reset-requests',
}
const TOKENS: OpenaiNames = {
  limit: 'x-ratelimit-limit-tokens',
  remaining: 'x-ratelimit-remaining-tokens',
  reset: 'x-ratelimit-reset-tokens',
}
const OF_REQUESTS: ReadonlySet<Measure> = new Set(['requests'])
const OF_TOKENS: ReadonlySet<Measure> = new Set(['tokens', 'input', 'output'])

function before(inner: string | undefined, members: readonly string[]): string {
  const own = members.join(', ')
  return inner === undefined ? own : `${own}, ${inner}`
}

/** A limit's member of `RateLimit-Policy`, and until when it is true: months differ in length. */
interface PolicyText {
  readonly text: string
  readonly start: number
  readonly end: number
}

const policyTexts = new WeakMap<Limit, PolicyText>()

function policyText(limit: Limit, now: number): string {
  const known = policyTexts.get(limit)
  if (known !== undefined && known.start <= now && now < known.end) return known.text
  const made = policyTextAt(limit, now)
  policyTexts.set(limit, made)
  return made.text
}

function policyTextAt(limit: Limit, now: number): PolicyText {
  const unit = UNITS[limit.measure]
  let text = `"${limit.name}";q=${shown(limit.measure, limit.quota)}`
  if (unit !== undefined) text += `;qu="${unit}"`
  if (limit.kind === 'budget') {
    const { start, end } = epochAt(limit.per, now)
    return { text: `${text};w=${(end - start) / 1000}`, start, end }
  }
  if (limit.kind === 'rate') {
    text += `;w=${limit.periodMs / 1000}`
    if (limit.burst > 0) text += `;burst=${limit.burst}`
  }
  return { text, start: Number.NEGATIVE_INFINITY, end: Number.POSITIVE_INFINITY }
}

function stateText({ limit, remaining, nextMs }: LimitStatus): string {
  return `"${limit.name}";r=${shown(limit.measure, remaining)};t=${Math.ceil(nextMs / 1000)}`
}

function shown(measure: Measure, units: number): number {
  return measure === 'money' ? Math.floor(units / NANO_IN_MICRO) : units
}

/** Of the limits on these measures the first that has the least left. */
function tightest(standings: readonly LimitStatus[], measures: ReadonlySet<Measure>): LimitStatus | undefined {
  let least: LimitStatus | undefined
  for (const standing of standings) {
    if (!measures.has(standing.limit.measure)) continue
    if (least === undefined || standing.remaining < least.remaining) least = standing
  }
  return least
}

function addTightest(headers: Record<string, string>, names: OpenaiNames, standing: LimitStatus | undefined): void {
  if (standing === undefined) return
  const inner = headers[names.remaining]
  if (inner !== undefined && Number(inner) < standing.remaining) return
  headers[names.limit] = String(largestClaim(standing.limit))
  headers[names.remaining] = String(standing.remaining)
  headers[names.reset] = resetText(fullAfterMs(standing))
}

/** Until none is missing, if nobody takes any. */
function fullAfterMs({ limit, remaining, nextMs }: LimitStatus): number {
  if (limit.kind !== 'rate') return nextMs
  const missing = limit.capacity - remaining
  return missing <= 0 ? 0 : nextMs + ((missing - 1) * limit.periodMs) / limit.refill
}

/** As Go writes durations, and so OpenAI: `6s`, `1m30s`, `1h0m0s`. */
function resetText(ms: number): string {
  const seconds = Math.ceil(ms / 1000)
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60]
  return h > 0 ? `${h}h${m}m${s}s` : m > 0 ? `${m}m${s}s` : `${s}s`
}
