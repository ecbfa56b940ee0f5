/** Over how long demand is averaged, in milliseconds. */
const WINDOW_MS = 10_000
/** A first burst says little of what comes next: it is taken for so long a time's demand. */
const LEAST_AGE_MS = 4_000

/** How fast units are used, as an exponentially weighted average that is unbiased from its first moments. */
export interface Demand {
  /** Units used; fewer than none for those given back. */
  add(units: number, now: number): void
  /** Units a millisecond. */
  rate(now: number): number
}

export function demand(began: number): Demand {
  let sum = 0
  let at = began
  const decayed = (now: number) => sum * Math.exp(-Math.max(0, now - at) / WINDOW_MS)
  return {
    add(units, now) {
      sum = Math.max(0, decayed(now) + units)
      at = Math.max(at, now)
    },
    rate(now) {
      const age = Math.max(LEAST_AGE_MS, now - began)
      return decayed(now) / (WINDOW_MS * (1 - Math.exp(-age / WINDOW_MS)))
    },
  }
}
