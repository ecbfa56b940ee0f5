import { type Handler, type Refusal, withDeadline } from '../pipeline/index.ts'
import {
  METRICS_TYPE,
  type MetricNames,
  metricsText,
  OPEN_METRICS_TYPE,
  type UsageReader,
  type UsageTotals,
} from '../usage/index.ts'
import { notRead, WRONG_METHOD } from './reading.ts'

/** All durations are milliseconds. */
export interface MetricsPageOptions {
  readonly usage: Pick<UsageReader, 'totals'>
  /** Well under the 10 s that Prometheus waits for an answer. */
  readonly deadlineMs: number
  /** How long what was read is told again, and that it could not be read. */
  readonly maxAgeMs: number
  readonly maxBytes: number
  /** Milliseconds on a monotonic clock. */
  readonly now: () => number
}

/** A scraper comes back by itself. */
const RETRY_S = 10

/**
 * `GET …/metrics` for Prometheus. The tables are read once for all who ask at once or within an answer's age. Where they can't be
 * read it is a 503: a scraper takes zeros for counters that began anew.
 */
export function metricsPage({ usage, deadlineMs, maxAgeMs, maxBytes, now }: MetricsPageOptions): Handler {
  let last: { readonly totals: Promise<UsageTotals>; until: number } | undefined

  function read(): Promise<UsageTotals> {
    if (last === undefined || now() >= last.until) {
      const mine = {
        totals: withDeadline(deadlineMs, (signal) => usage.totals(signal)),
        // Its age begins with its end.
        until: Number.POSITIVE_INFINITY,
      }
      last = mine
      const age = () => {
        mine.until = now() + maxAgeMs
      }
      mine.totals.then(age, age)
    }
    return last.totals
  }

  return async function metricsPage({ method, url, headers }, { log }) {
    if (method !== 'GET') return WRONG_METHOD
    const names = namesAsked(url)
    if (names === undefined) return OTHER_PARAMETERS
    const openMetrics = headers.get('accept')?.includes('application/openmetrics-text') ?? false
    let totals: UsageTotals
    try {
      totals = await read()
    } catch (error) {
      return notRead(error, log, RETRY_S)
    }
    return {
      kind: 'response',
      status: 200,
      headers: { 'content-type': openMetrics ? OPEN_METRICS_TYPE : METRICS_TYPE, 'cache-control': 'no-store' },
      body: Buffer.from(metricsText(totals, { names, openMetrics, maxBytes })),
    }
  }
}

/** `undefined` for a parameter that isn't known: a misspelt one would be metrics of other names than were asked for. */
function namesAsked({ searchParams }: URL): MetricNames | undefined {
  const [[parameter, names] = ['names', 'tollgate'], ...others] = searchParams
  if (parameter !== 'names' || others.length > 0) return undefined
  return names === 'tollgate' || names === 'litellm' ? names : undefined
}

const OTHER_PARAMETERS: Refusal = {
  kind: 'refusal',
  code: 'invalid_request',
  status: 400,
  param: 'names',
  message: "There is one parameter, 'names': tollgate (the default) or litellm.",
}
