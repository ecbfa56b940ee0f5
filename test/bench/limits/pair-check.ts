/** At most `capacity + perMs · Δt` requests in any time Δt. */
export interface Bound {
  readonly capacity: number
  /** Requests that come back in a millisecond. */
  readonly perMs: number
}

/** When a request was sent and when its caller learned that it was admitted; milliseconds on one clock. */
export interface Admitted {
  readonly called: number
  readonly resolved: number
}

/**
 * By how much admissions exceeded what was allowed, over every pair of them: for the worst i ≤ j,
 * `(j − i + 1) − (capacity + perMs · (tⱼ − tᵢ))`. Above 0, the limit was broken as callers see it; minus infinity where
 * nothing was admitted.
 *
 * Exact in one pass: written as `(j − perMs · tⱼ) + max(perMs · tᵢ − i) + 1 − capacity`.
 *
 * The stamps are those of the callers' knowledge. A caller that learns late (its process had to wait for a processor)
 * moves its admission towards later ones, so that a limiter that is exact may seem to exceed by `perMs` times that delay:
 * see `provenExcess`.
 *
 * @param stamps when each was admitted, in milliseconds, in any order
 */
export function worstExcess(stamps: Iterable<number>, { capacity, perMs }: Bound): number {
  const sorted = Float64Array.from(stamps).sort()
  // Times from the first one on, so that a clock that counts from long ago costs no precision.
  const start = sorted[0] ?? 0
  let worst = Number.NEGATIVE_INFINITY
  let earlier = Number.NEGATIVE_INFINITY
  for (const [index, stamp] of sorted.entries()) {
    const refilled = perMs * (stamp - start)
    earlier = Math.max(earlier, refilled - index)
    worst = Math.max(worst, index - refilled + earlier + 1 - capacity)
  }
  return worst
}

/**
 * The same for requests that were admitted at some moment between call and answer that nobody knows: counts, for every
 * call and every answer, what was called and answered between the two, and so never blames a limiter for what the
 * machine delayed. Above 0, the limit was broken whenever within its request each admission happened.
 */
export function provenExcess(admitted: readonly Admitted[], { capacity, perMs }: Bound): number {
  const byAnswer = admitted.toSorted((a, b) => a.resolved - b.resolved)
  const rank = new Map(byAnswer.map((each, index) => [each, index]))
  const start = byAnswer[0]?.resolved ?? 0
  const ends = maxTree(byAnswer.length)
  let worst = Number.NEGATIVE_INFINITY
  // From the last call back: what is in the tree was called no sooner than this one.
  for (const each of admitted.toSorted((a, b) => b.called - a.called)) {
    const at = rank.get(each) ?? 0
    ends.open(at, -perMs * (each.resolved - start))
    ends.addFrom(at, 1)
    worst = Math.max(worst, ends.max() + perMs * (each.called - start) - capacity)
  }
  return worst
}

interface MaxTree {
  /** Adds to the value at an index and to all after it, also to those that are not open yet. */
  addFrom(index: number, by: number): void
  /** From now on the value at an index counts: this, and what was added to it so far. */
  open(index: number, value: number): void
  max(): number
}

/** The greatest of many values that change by ranges, in logarithmic time: a segment tree. */
function maxTree(size: number): MaxTree {
  let leaves = 1
  while (leaves < size) leaves *= 2
  const most = new Float64Array(2 * leaves).fill(Number.NEGATIVE_INFINITY)
  /** What is added to all values below a node. */
  const added = new Float64Array(2 * leaves)

  function climb(from: number): void {
    for (let node = from >> 1; node >= 1; node >>= 1) {
      most[node] = Math.max(most[2 * node] ?? 0, most[2 * node + 1] ?? 0) + (added[node] ?? 0)
    }
  }

  function add(node: number, by: number): void {
    added[node] = (added[node] ?? 0) + by
    most[node] = (most[node] ?? 0) + by
  }

  return {
    addFrom(index, by) {
      let node = index + leaves
      add(node, by)
      // Each right neighbour on the way up holds only later values.
      for (; node > 1; node >>= 1) if (node % 2 === 0) add(node + 1, by)
      climb(index + leaves)
    },
    open(index, value) {
      const node = index + leaves
      most[node] = value + (added[node] ?? 0)
      climb(node)
    },
    max: () => most[1] ?? Number.NEGATIVE_INFINITY,
  }
}
