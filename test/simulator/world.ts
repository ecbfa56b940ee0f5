/** What happens at a moment of true time. */
interface Event {
  readonly at: number
  readonly order: number
  readonly run: () => void
}

/** True time, in milliseconds since 1970, and all that is still to happen in it. */
export interface World {
  now(): number
  /** Lets something happen after so many milliseconds. Returns what takes it back. */
  after(ms: number, run: () => void): () => void
  /** Runs all that happens until then. After each event, whatever waits for a promise goes on. */
  runUntil(end: number, afterEach: () => void): Promise<void>
}

export function world(start: number): World {
  const heap: Event[] = []
  let now = start
  let order = 0

  const before = (a: Event, b: Event) => a.at < b.at || (a.at === b.at && a.order < b.order)

  function push(event: Event): void {
    let index = heap.push(event) - 1
    while (index > 0) {
      const parent = (index - 1) >> 1
      const above = heap[parent]
      if (above === undefined || before(above, event)) break
      heap[index] = above
      index = parent
    }
    heap[index] = event
  }

  function pop(): Event | undefined {
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      const [left, right] = [heap[child], heap[child + 1]]
      if (left === undefined) break
      if (right !== undefined && before(right, left)) child += 1
      const smaller = heap[child]
      if (smaller === undefined || before(last, smaller)) break
      heap[index] = smaller
      index = child
    }
    heap[index] = last
    return first
  }

  return {
    now: () => now,
    after(ms, run) {
      let live = true
      order += 1
      push({ at: now + Math.max(0, ms), order, run: () => live && run() })
      return () => {
        live = false
      }
    },
    async runUntil(end, afterEach) {
      for (;;) {
        const [first] = heap
        if (first === undefined || first.at > end) break
        pop()
        now = first.at
        first.run()
        await new Promise(setImmediate)
        afterEach()
      }
      now = end
    },
  }
}
