import type { Decision } from './decision-log.ts'
import { type Admitted, type Bound, provenExcess, worstExcess } from './pair-check.ts'
import type { Stream } from './stream.ts'

/** The worst over-admission of any subject, in requests; above 0, a limit was broken. */
export interface Excess {
  /** By the moments at which callers learned that they were admitted: see `worstExcess`. */
  readonly stamped: number
  /** Whatever the machine may have delayed between call and answer: see `provenExcess`. */
  readonly proven: number
}

/** Over every pair of every subject's admissions. A budget is a bucket into which nothing comes back. */
export function excessOf(streams: readonly Stream[], decisions: readonly Decision[]): Excess {
  const admitted = new Map<string, { readonly bound: Bound; readonly its: Admitted[] }>()
  for (const decision of decisions) {
    const limit = streams[decision.stream]?.limit
    if (decision.entry !== 'admitted' || limit === undefined) continue
    const key = `${decision.stream}/${decision.subject}`
    const known = admitted.get(key)
    const bound =
      limit.kind === 'rate'
        ? { capacity: limit.capacity, perMs: limit.refill / limit.periodMs }
        : { capacity: limit.quota, perMs: 0 }
    if (known === undefined) admitted.set(key, { bound, its: [decision] })
    else known.its.push(decision)
  }
  let [stamped, proven] = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY]
  for (const { bound, its } of admitted.values()) {
    stamped = Math.max(
      stamped,
      worstExcess(
        its.map(({ resolved }) => resolved),
        bound,
      ),
    )
    proven = Math.max(proven, provenExcess(its, bound))
  }
  return { stamped, proven }
}
