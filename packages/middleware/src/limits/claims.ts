import type { Limit, Measure } from '../policy/index.ts'
import type { Claim, Subject } from './leases/decision.ts'

/** A limit, and whose it is. */
export interface Held {
  readonly subject: Subject
  readonly limit: Limit
}

const OF_REQUESTS: ReadonlySet<Measure> = new Set(['requests', 'concurrency'])

/**
 * One of each limit on requests and concurrency.
 *
 * @param model those on this model's requests; `undefined` for those on all
 */
export function requestClaims(subjects: readonly Subject[], model?: string): Claim[] {
  return select(subjects, (limit) => OF_REQUESTS.has(limit.measure) && limit.model === model).map(
    ({ subject, limit }) => ({ subject, limit, units: 1 }),
  )
}

/** The limits on tokens and money that hold for a request to this model. */
export function usageLimits(subjects: readonly Subject[], model: string): Held[] {
  return select(
    subjects,
    (limit) => !OF_REQUESTS.has(limit.measure) && (limit.model === undefined || limit.model === model),
  )
}

function select(subjects: readonly Subject[], holds: (limit: Limit) => boolean): Held[] {
  const held: Held[] = []
  for (const subject of subjects) {
    for (const limit of subject.limits) if (holds(limit)) held.push({ subject, limit })
  }
  return held
}
