import type { UsageDimension, UsageQuery } from './figures.ts'

/** What is asked of the ledger, in the words of a URL's parameters or a command's options. */
export interface UsageAsked {
  readonly by?: string | undefined
  readonly since?: string | undefined
  readonly until?: string | undefined
  readonly consumer?: string | undefined
  readonly model?: string | undefined
}

/** What is wrong with one of them. */
export interface UsageFault {
  readonly parameter: keyof UsageAsked
  /** What it must be: `must be consumer, model or target`. */
  readonly rule: string
}

export const USAGE_DIMENSIONS = ['consumer', 'model', 'target'] as const satisfies readonly UsageDimension[]

/** How far back a report looks, and a request is looked for, where nothing is said. */
const REPORT_SINCE = '7d'
const WHY_SINCE = '1d'

/** No consumer and no model has a longer name. */
const LONGEST_NAME = 512

/** @param now milliseconds since 1970 */
export function usageQuery(asked: UsageAsked, now: number): UsageQuery | UsageFault {
  const { by = 'consumer', consumer, model } = asked
  const dimension = USAGE_DIMENSIONS.find((known) => known === by)
  if (dimension === undefined) return { parameter: 'by', rule: 'must be consumer, model or target' }
  const span = spanOf(asked, REPORT_SINCE, now)
  if ('rule' in span) return span
  for (const parameter of ['consumer', 'model'] as const) {
    const name = asked[parameter]
    // '' is the model of requests that named none of the policy's.
    const isNone = parameter === 'consumer' && name === ''
    if (isNone || (name?.length ?? 0) > LONGEST_NAME) {
      return { parameter, rule: `must be the name of a ${parameter}, of at most ${LONGEST_NAME} characters` }
    }
  }
  return {
    by: dimension,
    ...span,
    ...(consumer === undefined ? {} : { consumer }),
    ...(model === undefined ? {} : { model }),
  }
}

/** When a request may have come. @param now milliseconds since 1970 */
export function whyQuery(asked: Pick<UsageAsked, 'since' | 'until'>, now: number): WhyQuery | UsageFault {
  return spanOf(asked, WHY_SINCE, now)
}

type WhyQuery = Pick<UsageQuery, 'since' | 'until'>

export function isUsageFault(value: object): value is UsageFault {
  return 'rule' in value
}

function spanOf(asked: Pick<UsageAsked, 'since' | 'until'>, sinceElse: string, now: number): WhyQuery | UsageFault {
  const since = momentBack(asked.since ?? sinceElse, now)
  if (since === undefined) return { parameter: 'since', rule: MOMENT }
  const until = asked.until === undefined ? now : momentBack(asked.until, now)
  if (until === undefined) return { parameter: 'until', rule: MOMENT }
  if (since < until) return { since, until }
  // At fault is what was said.
  if (asked.since === undefined)
    return { parameter: 'until', rule: `must be after 'since', which is ${sinceElse} by default` }
  return { parameter: 'since', rule: `must be before ${asked.until === undefined ? 'now' : "'until'"}` }
}

const MOMENT =
  "must be a span back from now such as 30m, 12h or 7d, or a date in UTC such as 2027-01-31 or 2027-01-31T08:00Z, or 'now'"
const SPAN = /^([1-9]\d{0,4})([mhd])$/
const UNITS = { m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const DATE = /^\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?(?:Z|[+-]\d{2}:\d{2}))?$/

/** Milliseconds since 1970; `undefined` for what is no moment. */
function momentBack(text: string, now: number): number | undefined {
  if (text === 'now') return now
  const [, count, unit] = SPAN.exec(text) ?? []
  if (count !== undefined) return now - Number(count) * UNITS[unit as keyof typeof UNITS]
  const date = DATE.test(text) && isDay(text.slice(0, 10)) ? Date.parse(text) : Number.NaN
  return Number.isNaN(date) ? undefined : date
}

/** JavaScript takes the 31st of February for the 3rd of March. */
function isDay(text: string): boolean {
  const day = Date.parse(text)
  return !Number.isNaN(day) && new Date(day).toISOString().startsWith(text)
}
