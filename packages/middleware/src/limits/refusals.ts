import type { Refusal, RefusalCode } from '../pipeline/index.ts'
import type { Limit, Measure } from '../policy/index.ts'
import type { Denial } from './leases/decision.ts'

/** The openai SDKs pass over a longer `Retry-After`, and try again at once. */
const LONGEST_RETRY_S = 60
/** Slots come back when requests end, which nobody can foretell. */
const SLOT_RETRY_S = 1

/** Refusals by which a request takes nothing from any limit. */
const BY_LIMITS: ReadonlySet<RefusalCode> = new Set([
  'rate_limit_exceeded',
  'insufficient_quota',
  'request_too_expensive',
  'input_unbounded',
  'model_not_priced',
  'tier_not_allowed',
  'tool_not_allowed',
  'field_not_allowed',
  'store_unavailable',
])

export function isRefusedByLimits(code: RefusalCode): boolean {
  return BY_LIMITS.has(code)
}

/**
 * 429 `rate_limit_exceeded`, or `insufficient_quota` for a budget that is spent for the hour, day or month; 400
 * `request_too_expensive` for what could never be granted. Names the limit, its size and when to come back.
 */
export function denied(denial: Denial): Refusal {
  const { limit, units, retryAfterMs } = denial
  if (limit.kind === 'concurrency') return exceeded(denial, SLOT_RETRY_S)
  if (!Number.isFinite(retryAfterMs)) return tooExpensive(limit, units)
  const seconds = Math.max(1, Math.ceil(retryAfterMs / 1000))
  return limit.kind === 'budget' && limit.per !== 'minute' ? spent(denial, seconds) : exceeded(denial, seconds)
}

function exceeded({ limit, units }: Denial, seconds: number): Refusal {
  const asked = units > 1 ? `; this request may take ${amount(limit.measure, units)}` : ''
  const details = `limit '${limit.name}': ${sizeText(limit)}${asked}; come back in ${waitText(seconds)}`
  return {
    kind: 'refusal',
    code: 'rate_limit_exceeded',
    status: 429,
    message: `Too many requests: ${details}`,
    details,
    counted: limit.measure === 'requests' || limit.measure === 'concurrency' ? 'requests' : 'tokens',
    headers: {
      'retry-after': String(seconds),
      ...(seconds > LONGEST_RETRY_S ? { 'x-should-retry': 'false' } : {}),
    },
  }
}

function spent({ limit, units, standings }: Denial, seconds: number): Refusal {
  const { measure, name } = limit
  const left = standings.find((standing) => standing.limit === limit)?.remaining ?? 0
  const missing =
    left > 0 ? `has ${amount(measure, left)} left, and this request may take ${amount(measure, units)}` : 'is spent'
  return {
    kind: 'refusal',
    code: 'insufficient_quota',
    status: 429,
    message: `The budget '${name}' ${missing}.`,
    details: `limit '${name}': ${sizeText(limit)}; come back in ${waitText(seconds)}`,
    headers: { 'retry-after': String(seconds), 'x-should-retry': 'false' },
  }
}

function tooExpensive(limit: Limit, units: number): Refusal {
  const { measure, name } = limit
  return {
    kind: 'refusal',
    code: 'request_too_expensive',
    status: 400,
    message:
      `This request may take ${amount(measure, units)}, which the limit '${name}' (${sizeText(limit)}) never grants ` +
      `at once. ${measure === 'input' ? 'Shorten the input.' : 'Lower max_tokens, or shorten the input.'}`,
  }
}

/** The counters could not be read or changed in time: nobody is admitted unchecked. */
export const NOT_CHECKED: Refusal = {
  kind: 'refusal',
  code: 'store_unavailable',
  status: 503,
  message: 'The rate limit could not be checked. Please try again.',
  headers: { 'retry-after': '1' },
}

/** A request in flight whose place others may take from now on. */
export const SLOT_LOST: Refusal = {
  kind: 'refusal',
  code: 'slot_lost',
  status: 503,
  message: 'The place of this request among the concurrent ones could not be kept. Please try again.',
  headers: { 'retry-after': '1' },
}

const UNITS: Readonly<Record<Exclude<Measure, 'money'>, string>> = {
  requests: '',
  tokens: ' tokens',
  input: ' input tokens',
  output: ' output tokens',
  concurrency: ' at once',
}

/** A number of units of what a limit counts, in words. */
function amount(measure: Measure, units: number): string {
  return measure === 'money' ? `${usd(units)} USD` : `${units}${UNITS[measure]}`
}

/** A limit's size as the policy states it: `10 per 1m, burst 5`. */
function sizeText(limit: Limit): string {
  const size = amount(limit.measure, limit.quota)
  switch (limit.kind) {
    case 'rate':
      return `${size} per ${periodText(limit.periodMs)}${limit.burst > 0 ? `, burst ${limit.burst}` : ''}`
    case 'budget':
      return `${size} per ${limit.per}`
    case 'concurrency':
      return size
  }
}

/** Never less than it is: `6 s`, `12 min`, `3 h 20 min`, `4 d 1 h`. */
function waitText(seconds: number): string {
  if (seconds <= 120) return `${seconds} s`
  const minutes = Math.ceil(seconds / 60)
  if (minutes < 60) return `${minutes} min`
  if (minutes < 24 * 60) return pair(Math.floor(minutes / 60), 'h', minutes % 60, 'min')
  const hours = Math.ceil(minutes / 60)
  return pair(Math.floor(hours / 24), 'd', hours % 24, 'h')
}

function pair(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`
}

const PERIODS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
] as const

function periodText(ms: number): string {
  for (const [unit, length] of PERIODS) if (ms % length === 0) return `${ms / length}${unit}`
  return `${ms}ms`
}

/** Dollars of nano-dollars, exactly, with no more decimals than they need. */
function usd(nano: number): string {
  const digits = String(nano).padStart(10, '0')
  const decimals = digits.slice(-9).replace(/0+$/, '')
  return decimals === '' ? digits.slice(0, -9) : `${digits.slice(0, -9)}.${decimals}`
}
