import * as z from 'zod'
import { duration, durationMs } from './duration.ts'
import { name } from './names.ts'

/* A limit: what it counts, its grammar, its name in headers and refusals, and what keeps it. */

/** What a limit counts. `input`, `output` and `tokens` (both together) are tokens; money is counted in nano-dollars. */
export type Measure = 'requests' | 'tokens' | 'input' | 'output' | 'money' | 'concurrency'

/** A window of a quota or budget, in UTC. */
export type Epoch = 'minute' | 'hour' | 'day' | 'month'

interface Common {
  /** Its identity in the counters' rows, the same for as long as what it counts and over which period is the same. */
  readonly key: string
  /** Its name in `RateLimit` headers and in refusals; unique among the limits of one plan and the global ones. */
  readonly name: string
  readonly measure: Measure
  /** For this model's requests alone, by the policy's name; `undefined` for all. */
  readonly model: string | undefined
  /** The number that the policy states, in whole units of the measure. */
  readonly quota: number
}

/** A bucket: at most `capacity + refill · W / periodMs` units in any interval W. */
export interface RateLimit extends Common {
  readonly kind: 'rate'
  readonly periodMs: number
  /** Units that may come beyond the quota's steady rate. */
  readonly burst: number
  /** The most units that may come at once. */
  readonly capacity: number
  /** Units that come back in each period. */
  readonly refill: number
}

/** At most `quota` units in each window, and none of them comes back before the next. */
export interface BudgetLimit extends Common {
  readonly kind: 'budget'
  readonly per: Epoch
}

/** At most `quota` requests in flight. */
export interface ConcurrencyLimit extends Common {
  readonly kind: 'concurrency'
}

export type Limit = RateLimit | BudgetLimit | ConcurrencyLimit

/** The most units that a limit could ever grant to one request. */
export function largestClaim(limit: Limit): number {
  return limit.kind === 'rate' ? limit.capacity : limit.quota
}

/** The words that make a limit a quota in a UTC window. */
const EPOCHS = ['minute', 'hour', 'day', 'month'] as const satisfies readonly Epoch[]

const epoch = z.enum(EPOCHS, { error: 'must be minute, hour, day or month' })

const period = z
  .union([duration, epoch], { error: 'must be a duration such as 30s or 1m, or minute, hour, day or month' })
  .describe('A duration (1m) makes a bucket that refills steadily; a word (month) makes a quota in that window of UTC.')

const MOST_REQUESTS = 1_000_000_000
const MOST_TOKENS = 1_000_000_000_000

const burst = (most: number) =>
  z.int().min(0).max(most).optional().describe('What is admitted at once beyond the steady rate. Durations only.')

const strict = z
  .boolean()
  .optional()
  .describe('Keep any window of the period at or under the number. Durations only, and without burst.')

const model = name.optional().describe("Count this model's requests alone. Absent: those of all models.")

const requestLimit = z
  .strictObject({
    requests: z.int().min(1).max(MOST_REQUESTS).describe('Requests admitted in each period.'),
    per: period,
    burst: burst(MOST_REQUESTS),
    strict,
    model,
  })
  .describe('{requests: 10, per: 1m, burst: 5}: any interval W admits at most 15 + W × 10/minute.')

const tokenLimit = z
  .strictObject({
    tokens: z.int().min(1).max(MOST_TOKENS).describe('Tokens admitted in each period.'),
    per: period,
    burst: burst(MOST_TOKENS),
    strict,
    count: z.enum(['total', 'input', 'output']).optional().describe('Which tokens count (total: both).'),
    model,
  })
  .describe('{tokens: 20000, per: 1m}')

/** Money over a window: `{usd: 5, per: month}`. */
export const spending = z.strictObject({
  usd: z.number().min(0.000_000_001).max(1_000_000).describe('US dollars spent in each window, to the nano-dollar.'),
  per: epoch,
})

export type Spending = Readonly<z.infer<typeof spending>>

const moneyLimit = spending.extend({ model }).describe('{usd: 5, per: month}: needs prices under models.')

const concurrencyLimit = z
  .strictObject({ concurrent: z.int().min(1).max(100_000).describe('Requests in flight.'), model })
  .describe('{concurrent: 2}')

const limit = z
  .union([requestLimit, tokenLimit, moneyLimit, concurrencyLimit], {
    error: 'must be a limit such as {requests: 10, per: 1m}',
  })
  .meta({ id: 'limit', description: 'One limit. All limits that hold for a request are kept, each by itself.' })

export const limits = z.array(limit).max(16)

type LimitDocument = z.infer<typeof limit>

/** Where a list of limits stands. */
export interface LimitList {
  /** Its path in the document, for faults. */
  readonly path: string
  readonly prefix: NamePrefix
  /** Why a limit can't be on a model of this name, with the fix; `undefined` where it can. */
  readonly modelFault: (name: string) => string | undefined
}

/** The limits of one list; what is wrong with any goes to `faults`, with its path. */
export function resolveLimits(documents: readonly LimitDocument[], list: LimitList, faults: string[]): Limit[] {
  const limits = new Map<string, Limit>()
  for (const [index, document] of documents.entries()) {
    const path = `${list.path}[${index}]`
    const modelFault = document.model === undefined ? undefined : list.modelFault(document.model)
    if (modelFault !== undefined) faults.push(`${path}.model: ${modelFault}`)
    try {
      const limit = resolveLimit(document, limitName(document, documents, list.prefix))
      if (limits.has(limit.key)) faults.push(`${path}: a second limit on ${subjectOf(document)}. Keep the smaller.`)
      limits.set(limit.key, limit)
    } catch (fault) {
      if (!(fault instanceof LimitFault)) throw fault
      faults.push(`${path}: ${fault.message}`)
    }
  }
  return [...limits.values()]
}

const COUNTED = {
  requests: 'requests',
  tokens: 'tokens',
  input: 'input tokens',
  output: 'output tokens',
  money: 'money',
  concurrency: 'concurrent requests',
} as const

function subjectOf(document: LimitDocument): string {
  const period = 'per' in document ? ` per ${document.per}` : ''
  const model = document.model === undefined ? '' : ` for the model '${document.model}'`
  return `${COUNTED[measureOf(document)]}${period}${model}`
}

const OF_TOKENS = { total: 'tokens', input: 'input', output: 'output' } as const satisfies Record<string, Measure>

/** What a limit of the policy counts. */
function measureOf(document: LimitDocument): Measure {
  if ('requests' in document) return 'requests'
  if ('tokens' in document) return OF_TOKENS[document.count ?? 'total']
  return 'usd' in document ? 'money' : 'concurrency'
}

const BASES: Readonly<Record<Measure, string>> = {
  requests: 'requests',
  tokens: 'tokens',
  input: 'input-tokens',
  output: 'output-tokens',
  money: 'usd',
  concurrency: 'concurrent',
}

/** Whom a limit counts together: before the names of shared, groups' and global limits, which meet a consumer's own in one header. */
export type NamePrefix = '' | 'plan-' | 'global-' | `group-${string}-`

/**
 * A limit's name in headers and refusals: what it counts, the period where `siblings`, the limits of its list, have
 * another of the kind for the same model, and the model if it is for one.
 */
function limitName(document: LimitDocument, siblings: readonly LimitDocument[], prefix: NamePrefix): string {
  const measure = measureOf(document)
  const alike = siblings.filter(({ model }) => model === document.model).filter((other) => measureOf(other) === measure)
  const period = alike.length > 1 && 'per' in document ? `-${document.per}` : ''
  const model = document.model === undefined ? '' : `:${document.model}`
  return `${prefix}${BASES[measure]}${period}${model}`
}

/** A fault in a limit, to be reported with its path. */
class LimitFault extends Error {}

const NANO_DOLLARS = 1e9
const LEAST_STRICT = 4

type Named = Pick<Limit, 'name' | 'model'>
type RateDocument = Exclude<LimitDocument, { readonly usd: number } | { readonly concurrent: number }>

/**
 * A limit of the policy as what keeps it: a bucket for a duration, a budget for a window, a number in flight.
 *
 * @throws LimitFault for `burst` or `strict` where they mean nothing, and for a bucket too large for exact integers.
 */
function resolveLimit(document: LimitDocument, name: string): Limit {
  const named: Named = { name, model: document.model }
  const measure = measureOf(document)
  if ('concurrent' in document) {
    return { ...named, kind: 'concurrency', key: keyOf('concurrency', named), measure, quota: document.concurrent }
  }
  if ('usd' in document) return moneyBudget(named, document)

  const quota = 'requests' in document ? document.requests : document.tokens
  const epoch = EPOCHS.find((word) => word === document.per)
  if (epoch === undefined) return rate(named, measure, quota, document)
  if (document.burst !== undefined || document.strict !== undefined) {
    throw new LimitFault(
      `'burst' and 'strict' belong to a duration such as 1m, not to a quota per ${epoch}. Remove them.`,
    )
  }
  return budget(named, measure, quota, epoch)
}

function moneyBudget(named: Named, { usd, per }: Spending): BudgetLimit {
  return budget(named, 'money', Math.round(usd * NANO_DOLLARS), per)
}

/** What a key alone may spend. Its name meets those of the policy's limits in one header, and is none of theirs. */
export function budgetOfKey(spending: Spending): BudgetLimit {
  return moneyBudget({ name: `key-${BASES.money}`, model: undefined }, spending)
}

function budget(named: Named, measure: Measure, quota: number, per: Epoch): BudgetLimit {
  return { ...named, kind: 'budget', key: keyOf(`${measure}:${per}`, named), measure, quota, per }
}

/**
 * Plain: as much at once as the number and the burst, and the full number back in each period, so a first period may
 * show up to twice the number. Strict: a tenth of the number at once and the rest back in each period, so no window of
 * the period shows more than the number.
 */
function rate(named: Named, measure: Measure, quota: number, document: RateDocument): RateLimit {
  const { burst = 0, strict = false } = document
  const periodMs = durationMs(document.per)
  if (strict && burst > 0) throw new LimitFault("'strict' and 'burst' contradict each other. Remove one.")
  if (strict && quota < LEAST_STRICT) throw new LimitFault(`'strict' needs a number of at least ${LEAST_STRICT}.`)

  const capacity = strict ? Math.max(1, Math.floor(quota / 10)) : quota + burst
  if (capacity * periodMs > Number.MAX_SAFE_INTEGER) {
    const units = 'requests' in document ? 'requests' : 'tokens'
    throw new LimitFault(`too many ${units} in too long a period to be counted exactly. Make one of them smaller.`)
  }
  const refill = strict ? quota - capacity : quota
  const key = keyOf(`${measure}:${periodMs}`, named)
  return { ...named, kind: 'rate', key, measure, quota, periodMs, burst, capacity, refill }
}

function keyOf(counted: string, { model }: Named): string {
  return model === undefined ? counted : `${counted}@${model}`
}
