import type { Limit } from '../../policy/index.ts'
import type { StoreInterval } from '../stores/store-clock.ts'
import { type Claim, LimiterUnavailable, type Subject } from './decision.ts'
import { close, emptyLease, type Lease, spentOf } from './lease.ts'
import { leaseSync, type SyncTask } from './lease-sync.ts'
import { RowUnreadable } from './row.ts'
import type { Runtime } from './runtime.ts'
import { SHARED_CERTAINTY_MS, type SharedCounter, sharedCounter, WRITE_OFF_MS } from './shared-counter.ts'
import { holdsBackRefill } from './sizing.ts'
import { isForgettable, isOwedBack, keepable, mustGiveUp, needsRenewal, runsOut } from './upkeep.ts'

/** Holds one subject's leases, and has them synced with the shared counter: for requests that wait, and ahead of them. */
export interface LeaseManager {
  readonly subject: Subject
  readonly leases: ReadonlyMap<string, Lease>
  /** Whether the leases are of these limits, in whatever array they come. */
  isFor(limits: readonly Limit[]): boolean
  /** What is known of the shared counter. */
  readonly counter: Pick<SharedCounter, 'await' | 'estimate' | 'room' | 'rowAt'>
  /**
   * Waits until it is certain that the shared counter has what it perhaps has now, ahead of requests that come later.
   *
   * @param gone aborts when the request waits no longer
   */
  wait(claims: readonly Claim[], ms: number, gone: AbortSignal): Promise<void>
  /**
   * Has the store asked for these units. Units that it grants are kept for them until the returned function is called, so
   * that they are not returned while another subject's counter is still being asked.
   *
   * @throws LimiterUnavailable; a programming fault, as it is
   */
  ask(claims: readonly Claim[]): Promise<() => void>
  /** Has the row read again, for no units. Where that fails, what was seen already stands. */
  look(): Promise<void>
  /** To be called when units were taken or have come back: looks ahead. */
  touched(time?: StoreInterval): void
  /** To be called now and then: renews what is in flight, returns what lies idle, ends what can't be kept. */
  maintain(): void
  /** Returns all that is held. */
  release(): Promise<void>
  /** Whether nothing would be missed if the leases were forgotten. */
  isForgettable(): boolean
}

/** What the next sync shall do beside serving the requests that wait. */
interface NextSync {
  /** Renew what is in flight, or write off what was spent. */
  renew: boolean
  /** Return what lies idle. */
  tidy: boolean
  /** Leases that return all that they hold. */
  readonly empty: Set<Lease>
}

interface Waiter {
  readonly claims: readonly Claim[]
  resolve(release: () => void): void
  reject(reason: unknown): void
}

/** A debt that the shared counter could not pay is presented again after this long. */
const PAY_EVERY_MS = 10_000

/** What each array of limits holds, as text. An array of limits never changes. */
const contents = new WeakMap<readonly Limit[], string>()

/** The same text for equal limits, in whatever order they and their fields stand. */
function contentOf(limits: readonly Limit[]): string {
  const known = contents.get(limits)
  if (known !== undefined) return known
  const texts = limits.map((limit) => JSON.stringify(Object.entries(limit).toSorted(([a], [b]) => (a < b ? -1 : 1))))
  const content = texts.toSorted().join('\n')
  contents.set(limits, content)
  return content
}

export function leaseManager(subject: Subject, runtime: Runtime): LeaseManager {
  const { clock, time, breaker, events } = runtime
  const leases = new Map<string, Lease>(subject.limits.map((limit) => [limit.key, emptyLease(limit, time.now())]))
  const all = [...leases.values()]
  const sync = leaseSync(subject, leases, runtime)
  const counter = sharedCounter(subject, leases, sync, runtime)
  /** Equal to the subject's, and the array that came last: most requests bring it again. */
  let newest = subject.limits
  let waiting: Waiter[] = []
  let running: Promise<void> | undefined
  let next: NextSync | undefined
  let closing = false
  let paidAt = Number.NEGATIVE_INFINITY
  let aheadAt = Number.NEGATIVE_INFINITY
  let writingOff = false
  /** Units that were granted to requests which have not taken them yet, by limit. */
  const kept = new Map<string, number>()
  const keptOf = ({ limit }: Lease) => kept.get(limit.key) ?? 0

  function keepFor(claims: readonly Claim[]): () => void {
    const add = (sign: 1 | -1) => {
      for (const { limit, units } of claims) kept.set(limit.key, (kept.get(limit.key) ?? 0) + sign * units)
    }
    add(1)
    return () => add(-1)
  }

  async function syncOnce(task: SyncTask): Promise<void> {
    let served: readonly Waiter[] = []
    const leave = () => {
      waiting = waiting.filter((waiter) => !served.includes(waiter))
    }
    try {
      await sync.run(task, () => (served = [...waiting]), counter.saw)
      leave()
      for (const waiter of served) waiter.resolve(keepFor(waiter.claims))
      breaker.succeeded()
    } catch (error) {
      served = waiting
      leave()
      const reason = error instanceof RowUnreadable ? new LimiterUnavailable('row_failed', error) : error
      for (const waiter of served) waiter.reject(reason)
      if (!(reason instanceof LimiterUnavailable)) {
        // A request that waits throws it on; where none does, it is told here.
        if (served.length === 0) events.fault?.(subject.id, reason)
        return
      }
      if (reason.code === 'row_failed') events.rowFailed?.(subject.id, reason.cause)
      if (reason.code === 'store_failed') breaker.failed(reason.cause)
    }
  }

  /** Starts a sync; what is asked for while one runs shares the next. */
  function start(wish: Partial<NextSync> = {}): Promise<void> {
    next ??= { renew: false, tidy: false, empty: new Set() }
    next.renew ||= wish.renew ?? false
    next.tidy ||= wish.tidy ?? false
    for (const lease of wish.empty ?? []) next.empty.add(lease)
    running ??= syncAll()
    return running
  }

  async function syncAll(): Promise<void> {
    // Requests that come in the same moment share the first sync.
    await null
    try {
      while (next !== undefined || waiting.length > 0) {
        const { renew = false, tidy = false, empty } = next ?? {}
        next = undefined
        const keep = (lease: Lease) => {
          const most = empty?.has(lease) ? 0 : tidy ? mayKeep(lease) : Number.POSITIVE_INFINITY
          return Math.max(most, keptOf(lease))
        }
        // What no request waits for can wait until the store works again.
        if (waiting.length > 0 || breaker.allows()) await syncOnce({ renew, keep, isRetired: closing })
      }
    } finally {
      running = undefined
    }
  }

  function writeOffSoon(): void {
    if (writingOff) return
    writingOff = true
    time.after(WRITE_OFF_MS, () => {
      writingOff = false
      void start({ renew: true })
    })
  }

  const idleMs = ({ usedAt }: Lease) => (closing ? Number.POSITIVE_INFINITY : time.now() - usedAt)

  function mayKeep(lease: Lease): number {
    if (closing) return lease.held <= 0 || lease.slot === undefined ? Number.POSITIVE_INFINITY : 0
    const interval = clock.interval()
    return keepable(lease, interval && counter.situationOf(lease, interval), idleMs(lease))
  }

  return {
    subject,
    leases,
    counter,

    isFor(limits) {
      if (limits === newest) return true
      if (contentOf(limits) !== contentOf(newest)) return false
      newest = limits
      return true
    },

    async wait(claims, ms, gone) {
      const leave = counter.enqueue(claims)
      await new Promise<void>((resolve) => {
        const stop = time.after(ms, resolve)
        gone.addEventListener('abort', () => {
          stop()
          resolve()
        })
      })
      leave()
    },

    ask(claims) {
      const { promise, resolve, reject } = Promise.withResolvers<() => void>()
      waiting.push({ claims, resolve, reject })
      if (running === undefined) void start()
      return promise
    },

    look: () => start(),

    touched(interval = clock.interval()) {
      if (interval === undefined) return
      for (const lease of all) {
        const situation = counter.situationOf(lease, interval)
        if (situation === undefined || lease.slot === undefined) continue
        if (lease.held > keptOf(lease) && isOwedBack(situation)) void start({ empty: new Set([lease]) })
        else if (holdsBackRefill(situation, spentOf(lease))) writeOffSoon()
        if (situation.now - aheadAt < SHARED_CERTAINTY_MS) continue
        const how = runsOut(situation)
        if (how === undefined) continue
        aheadAt = situation.now
        if (running === undefined) void start({ renew: how === 'ends' })
      }
    },

    maintain() {
      const interval = clock.interval()
      if (interval === undefined) return
      for (const lease of all) if (mustGiveUp(lease, interval)) close(lease)
      if (running !== undefined) return
      const renew = all.some((lease) => needsRenewal(lease, interval))
      const owes = all.some(({ debt }) => debt > 0) && time.now() - paidAt >= PAY_EVERY_MS
      if (owes) paidAt = time.now()
      const returns = all.some((lease) => lease.frozen > 0 || mayKeep(lease) < lease.held)
      if (renew || owes || returns) void start({ renew, tidy: true })
    },

    async release() {
      closing = true
      await running
      if (all.some(({ held }) => held > 0)) await start({ tidy: true })
    },

    isForgettable() {
      const { latest = 0 } = clock.interval() ?? {}
      const isQuiet = running === undefined && waiting.length === 0 && counter.isQueueEmpty()
      return isQuiet && all.every((lease) => isForgettable(lease, latest, idleMs(lease)))
    },
  }
}
