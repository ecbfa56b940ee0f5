import type { Limit } from '@tollgate/middleware'

/** What must hold of one limit, whoever spends it; told of all that is spent, at its true time. */
export interface Audit {
  /** Fewer than no units: so many came back, of what was spent in the same window. */
  spend(units: number, now: number): void
  /** A row was lost: what it had handed out may be handed out once more, and no more than that. */
  lose(now: number): void
  /** The most by which the promise was broken, in units; 0 while it holds. */
  excess(): number
  /** Spent and not given back, in the window of this moment. */
  spentIn(now: number): number
}

/** So far apart may instances be in what they take the time for, in milliseconds. */
const BOUNDARY_MS = 3_000

export function audit(limit: Limit, windowOf: (now: number) => number): Audit {
  let excess = 0
  /** Over all intervals that end now, the most that was spent beyond what came back in it. */
  let above = 0
  let at = 0
  const windows = new Map<number, number>()
  /** Further quotas that losses allow, in all and by window. */
  let further = 0
  const furtherIn = new Map<number, number>()
  return {
    lose(now) {
      further += 1
      // Shortly before a window begins, the row may be of either.
      for (const window of new Set([windowOf(now), windowOf(now + BOUNDARY_MS)])) {
        furtherIn.set(window, (furtherIn.get(window) ?? 0) + 1)
      }
    },

    spend(units, now) {
      const window = windowOf(now)
      const spent = (windows.get(window) ?? 0) + units
      windows.set(window, spent)
      if (limit.kind === 'budget') {
        excess = Math.max(excess, spent - limit.quota * (1 + (furtherIn.get(window) ?? 0)))
      }
      if (limit.kind !== 'rate') return
      const refilled = ((now - at) * limit.refill) / limit.periodMs
      above = Math.max(0, Math.max(0, above - refilled) + units)
      at = now
      excess = Math.max(excess, above - limit.capacity * (1 + further) - 1e-6 * limit.capacity)
    },
    excess: () => excess,
    spentIn: (now) => windows.get(windowOf(now)) ?? 0,
  }
}
