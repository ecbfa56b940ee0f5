import type { BudgetLimit, Limit } from '@tollgate/middleware'

/** Units that were admitted, and may have come back in part. */
export interface Spent {
  readonly at: number
  units: number
}

/** When which revision was in force at any instance, and what was admitted then of one measure of one subject. */
export interface RevisionsAudit {
  /** A revision begins, or ends, to be in force somewhere: at an instance, or for a request that came under it. */
  hold(revision: number, by: 1 | -1, now: number): void
  /** What is spent of a subject's limits of one measure. What comes back is taken off it later. */
  spend(subject: string, measure: Limit['measure'], units: number, now: number): Spent
  /** What was exceeded, if anything. To be asked in the end. */
  faults(): string[]
}

/**
 * Checks each interval against the larger of the revisions that were in force at any instance in it, however often they
 * took turns.
 *
 * @param limitsOf a revision's limits of one measure of a subject: together they allow what the smallest does
 * @param windowsIn how many windows of this kind an interval touches
 */
export function revisionsAudit(
  revisions: number,
  limitsOf: (revision: number, subject: string, measure: Limit['measure']) => readonly Limit[],
  windowsIn: (per: 'minute' | 'hour' | 'day' | 'month', from: number, to: number) => number,
): RevisionsAudit {
  const holders = Array.from({ length: revisions }, () => 0)
  /** From each moment on until the next, the revisions in force, as bits; with those that ended in that moment. */
  const timeline: { readonly at: number; mask: number }[] = []
  const spends = new Map<string, Spent[]>()

  const inForce = () => holders.reduce((mask, count, revision) => (count > 0 ? mask | (1 << revision) : mask), 0)

  /** The revisions in force in each span from one of these moments to the next, the first moment's own first. */
  function masksAt(moments: readonly number[]): number[] {
    let index = 0
    let current = 0
    let mask = 0
    return moments.map((moment, nth) => {
      // What ended in this very moment was in force for all that happened in it.
      if (moments[nth - 1] !== moment) mask = current
      for (let next = timeline[index]; next !== undefined && next.at <= moment; next = timeline[index]) {
        current = next.mask
        mask |= current
        index += 1
      }
      return mask
    })
  }

  function worst(subject: string, measure: Limit['measure'], spent: readonly Spent[]): string | undefined {
    const masks = masksAt(spent.map(({ at }) => at))
    const limits = Array.from({ length: revisions }, (_, revision) => limitsOf(revision, subject, measure))
    for (let first = 0; first < spent.length; first += 1) {
      const from = spent[first]?.at ?? 0
      let units = 0
      let mask = 0
      for (let last = first; last < spent.length; last += 1) {
        const { at = 0, units: more = 0 } = spent[last] ?? {}
        units += more
        mask |= masks[last] ?? 0
        if (more === 0) continue
        const most = allowed(limits, mask, from, at)
        if (units <= most * (1 + 1e-9) + 1e-6) continue
        return `${subject} ${measure}: ${units} in ${at - from} ms to ${new Date(at).toISOString()}, the larger revision allows ${most}`
      }
    }
    return undefined
  }

  /**
   * Once the most that any of them has at once, and what comes back in the interval: by the fastest of their buckets, and with
   * each window that begins. Where only a number has changed, that is what the larger revision allows.
   */
  function allowed(limits: readonly (readonly Limit[])[], mask: number, from: number, to: number): number {
    let most = 0
    let refill = 0
    const windows = new Map<BudgetLimit['per'], number>()
    for (let revision = 0; revision < revisions; revision += 1) {
      if ((mask & (1 << revision)) === 0) continue
      const its = limits[revision] ?? []
      if (its.length === 0) return Number.POSITIVE_INFINITY
      most = Math.max(most, Math.min(...its.map(largest)))
      for (const limit of its) {
        if (limit.kind === 'rate') refill = Math.max(refill, limit.refill / limit.periodMs)
        else if (limit.kind === 'budget') windows.set(limit.per, Math.max(limit.quota, windows.get(limit.per) ?? 0))
      }
    }
    let back = (to - from) * refill
    for (const [per, quota] of windows) back += quota * (windowsIn(per, from, to) - 1)
    return most + back
  }

  return {
    hold(revision, by, now) {
      holders[revision] = (holders[revision] ?? 0) + by
      const mask = inForce()
      const last = timeline.at(-1)
      if (last?.mask !== mask) timeline.push({ at: now, mask })
    },
    spend(subject, measure, units, now) {
      const key = `${subject} ${measure}`
      const event: Spent = { at: now, units }
      const known = spends.get(key)
      if (known === undefined) spends.set(key, [event])
      else known.push(event)
      return event
    },
    faults: () =>
      [...spends].flatMap(([key, spent]) => {
        const [subject = '', measure] = key.split(' ')
        return worst(subject, measure as Limit['measure'], spent) ?? []
      }),
  }
}

function largest(limit: Limit): number {
  return limit.kind === 'rate' ? limit.capacity : limit.quota
}
