import { LRUCache } from 'lru-cache'
import { circuitBreaker, isTimeout, pause, systemTime, type Time, withDeadline } from '../../pipeline/index.ts'
import { largestClaim } from '../../policy/index.ts'
import type { CounterStore } from '../stores/counter-store.ts'
import { CLOCK_SUBJECT, calibrateClock, type StoreInterval, storeClock } from '../stores/store-clock.ts'
import { type Claim, type Decision, type Denial, LimiterUnavailable, type Subject } from './decision.ts'
import type { Lease } from './lease.ts'
import { type LeaseManager, leaseManager } from './lease-manager.ts'
import type { Row } from './row.ts'
import type { LimiterEvents, Runtime } from './runtime.ts'
import { type Estimate, NEAR_MS } from './shared-counter.ts'
import { bySubject, freeAdmission, isShort, type SubjectClaims, statusesOf, tryDebit } from './subject-claims.ts'

export interface LimiterOptions {
  readonly store: CounterStore
  /** Longest wait for a decision, in milliseconds. */
  readonly deadlineMs: number
  readonly time?: Time
  /** A number in [0, 1), for jitter. */
  readonly random?: () => number
  /** What to do with requests while the store is down, now. Claims on money are refused in any case. Default: `closed`. */
  readonly storeDown?: 'closed' | 'open' | (() => 'closed' | 'open')
  readonly events?: LimiterEvents
}

export interface Limiter {
  /** The decision, where what this instance holds is enough for one; `undefined` where `admit` is to be asked. */
  admitAtOnce(claims: readonly Claim[]): Decision | undefined
  /**
   * Takes from every limit that is claimed, or from none.
   *
   * @throws LimiterUnavailable when that can't be settled before the deadline, or the store is down; a programming fault
   * as it is.
   */
  admit(claims: readonly Claim[]): Promise<Decision>
  /**
   * The decision that a request would get now, without taking anything: an admission holds nothing, and settles nothing. Reads a
   * row that was not seen lately.
   *
   * @throws LimiterUnavailable as `admit`
   */
  look(claims: readonly Claim[]): Promise<Decision>
  /** For how long the store has been failing, in milliseconds; `undefined` while it works. */
  failingFor(): number | undefined
  /** Leases of a subject, for tests and tools. */
  leases(subject: string): readonly Lease[]
  /** Returns what is held, unless the store is down. To be called when the process ends. */
  close(): Promise<void>
}

type Known = Exclude<Estimate, { kind: 'ask' }>

const MAINTAIN_EVERY_MS = 500
const MAX_TRIES = 100
/** While the store fails, one probe in this time, in milliseconds, may ask it; every other caller is refused at once. */
const PROBE_MS = 1_000
/** Rows that are remembered to rebuild them: about a kilobyte each. */
const MOST_SEEN_ROWS = 5_000

/**
 * Exact limits over any number of instances, at a fraction of a store call a request.
 *
 * A limit's units are handed out: an instance leases some from the limit's shared counter, a row in the store, and spends
 * them without asking. The units of the shared counter and those leased never exceed the limit together, and only the shared
 * counter refills, so that no crash, pause, lost reply or wrong clock can admit too much. More: docs/limits.md.
 */
export function limiter(options: LimiterOptions): Limiter {
  const { store, deadlineMs, time = systemTime, random = Math.random, storeDown = 'closed', events = {} } = options
  const now = () => time.now()
  const clock = storeClock(time)
  const breaker = circuitBreaker({
    time,
    // A sync tries again by itself until its deadline: one that fails has seen an outage.
    opensAfter: 1,
    pauseMs: () => PROBE_MS * (0.75 + 0.25 * random()),
    onFailing: events.storeFailed,
    onRecovered: ({ failedMs, failures }) => events.storeRecovered?.(failedMs, failures),
  })
  const calibration = calibrateClock({ store, clock, time, fault: (thrown) => events.fault?.(CLOCK_SUBJECT, thrown) })
  const managers = new Map<string, LeaseManager>()
  /** Of subjects whose limits have changed: what is in flight under the old ones goes on. */
  const retired = new Set<LeaseManager>()
  let closed = false

  const runtime: Runtime = {
    store,
    clock,
    time,
    random,
    breaker,
    // A sync gives up a little before the requests that wait for it do, so that they learn what was wrong.
    syncMs: deadlineMs - Math.min(50, deadlineMs / 10),
    rows: new LRUCache<string, Row>({ max: MOST_SEEN_ROWS }),
    events,
  }

  const stop = time.every(MAINTAIN_EVERY_MS, () => {
    for (const [id, manager] of managers) if (!isMaintained(manager)) managers.delete(id)
    for (const manager of retired) if (!isMaintained(manager)) retired.delete(manager)
    if (closed && managers.size + retired.size === 0) stop()
  })

  function isMaintained(manager: LeaseManager): boolean {
    if (manager.isForgettable()) return false
    manager.maintain()
    return true
  }

  function managerOf(subject: Subject): LeaseManager {
    const known = managers.get(subject.id)
    if (known?.isFor(subject.limits)) return known
    if (known !== undefined) {
      retired.add(known)
      void known.release()
    }
    const fresh = leaseManager(subject, runtime)
    managers.set(subject.id, fresh)
    return fresh
  }

  async function acquire(groups: readonly SubjectClaims[], gone: AbortSignal): Promise<Decision> {
    const since = time.now()
    // A wait must leave time to ask afterwards.
    const longestWaitMs = (3 / 4) * deadlineMs
    const lastWait = since + longestWaitMs
    let looks = 0
    /** Of its own accord, for certainty. */
    let waitedMs = 0
    let hasSeenAll = false
    for (let tries = 0; tries < MAX_TRIES && !gone.aborted; tries += 1) {
      const interval = clock.interval()
      if (interval === undefined) {
        await askAll(groups)
        continue
      }
      const admitted = tryDebit(groups, interval, now)
      if (admitted !== undefined) return admitted

      const asking: SubjectClaims[] = []
      const unknown: SubjectClaims[] = []
      let last: { readonly group: SubjectClaims; readonly estimate: Known } | undefined
      for (const group of groups) {
        if (!isShort(group, interval)) continue
        const estimate = group.manager.counter.estimate(group.claims, interval, since, looks)
        if (estimate.kind === 'ask') {
          asking.push(group)
          if (!estimate.hasRoom) unknown.push(group)
        } else if (last === undefined || estimate.at > last.estimate.at) last = { group, estimate }
      }
      if (last === undefined) {
        await askAll(asking)
        continue
      }
      const { claim, kind, at } = last.estimate
      const waitMs = at - interval.earliest
      if (last.estimate.kind === 'look again' && time.now() + last.estimate.ms <= lastWait) {
        looks += 1
        await pause(last.estimate.ms, time)
        // Where that fails, what was seen already stands.
        await askAll([...asking, last.group]).catch(unlessUnavailable)
        continue
      }
      // A bucket that many wait for is as good as empty: that is a refusal. It is none where this request would still have time
      // to wait if the store or this process had not kept it for most of it, nor where a budget may just have begun anew.
      const tooLong = time.now() + waitMs > lastWait
      const keptMs = time.now() - since - waitedMs
      const wasKept = tooLong && waitedMs + waitMs <= longestWaitMs && keptMs > longestWaitMs / 2
      if (kind === 'wait' && tooLong && (wasKept || claim.limit.kind === 'budget')) break
      if (kind === 'wait') calibration.start()
      if ((tooLong || kind !== 'wait') && unknown.length > 0 && !hasSeenAll) {
        // Another subject may have room later still: the told wait must be true for all.
        hasSeenAll = true
        await Promise.all(unknown.map(look))
        continue
      }
      if (tooLong || kind !== 'wait') return denial(groups, claim, waitMs - NEAR_MS, interval)
      // It may have room already, and will have for certain once the store's clock is surely past that moment.
      const { manager, claims: waiting } = last.group
      waitedMs += waitMs
      const over = new AbortController()
      const ended = AbortSignal.any([gone, over.signal])
      try {
        await Promise.all([askAll(asking), manager.wait(waiting, Math.max(1, waitMs), ended)])
      } finally {
        // Where the asking fails, the wait is over too.
        over.abort()
      }
    }
    throw new LimiterUnavailable('contention')
  }

  /** Has the store asked for all these subjects; the units granted are kept until all have been asked. */
  async function askAll(groups: readonly SubjectClaims[]): Promise<void> {
    const asked = groups.map(ask)
    try {
      for (const release of await Promise.all(asked)) release()
    } catch (error) {
      // The other subjects were granted units, or will be, that no request takes now.
      for (const [index, each] of asked.entries()) {
        each.then(
          (release) => {
            release()
            groups[index]?.manager.touched()
          },
          () => {},
        )
      }
      throw error
    }
  }

  async function ask({ manager, claims }: SubjectClaims): Promise<() => void> {
    if (!breaker.allows()) throw new LimiterUnavailable('store_failed')
    return manager.ask(claims)
  }

  /** Has a subject's row read again, where the store can be asked. */
  async function look({ manager }: SubjectClaims): Promise<void> {
    if (breaker.allows()) await manager.look()
  }

  /** What `admit` would decide by what is known of all rows; `undefined` where one was never seen. */
  function foresee(groups: readonly SubjectClaims[], interval: StoreInterval): Decision | undefined {
    let last: { readonly at: number; readonly claim: Claim } | undefined
    for (const { manager, claims } of groups) {
      const room = manager.counter.room(claims, interval)
      if (room === undefined) return undefined
      if (last === undefined || room.at > last.at) last = room
    }
    if (last === undefined || last.at <= interval.latest + NEAR_MS)
      return freeAdmission(true, statusesOf(groups, interval))
    return denial(groups, last.claim, last.at - interval.earliest - NEAR_MS, interval)
  }

  function denial(
    groups: readonly SubjectClaims[],
    { subject, limit, units }: Claim,
    waitMs: number,
    interval: StoreInterval | undefined,
  ): Denial {
    // Units that were fetched for this request alone lie idle now.
    for (const { manager } of groups) manager.touched()
    const standings = statusesOf(groups, interval)
    return { admitted: false, subject, limit, units, retryAfterMs: Math.max(1, waitMs), standings }
  }

  /** @throws what is neither the limiter's own word nor its deadline: a programming fault is no outage. */
  function unavailable(error: unknown): LimiterUnavailable {
    if (error instanceof LimiterUnavailable) return error
    if (!isTimeout(error)) throw error
    return new LimiterUnavailable(breaker.failingFor() === undefined ? 'contention' : 'store_failed', error)
  }

  function atOnce(claims: readonly Claim[], groups: readonly SubjectClaims[]): Decision | undefined {
    if (claims.length === 0) return freeAdmission(true)
    const interval = clock.interval()
    const never = claims.find(({ limit, units }) => units > largestClaim(limit))
    if (never !== undefined) return denial(groups, never, Number.POSITIVE_INFINITY, interval)
    return interval && tryDebit(groups, interval, now)
  }

  return {
    admitAtOnce: (claims) => atOnce(claims, bySubject(claims, managerOf)),

    async admit(claims) {
      const groups = bySubject(claims, managerOf)
      const decided = atOnce(claims, groups)
      if (decided !== undefined) return decided
      const awaited = groups.map(({ manager, claims }) => manager.counter.await(claims))
      try {
        return await withDeadline(deadlineMs, (late) => acquire(groups, late), time)
      } catch (error) {
        const reason = unavailable(error)
        const open =
          (typeof storeDown === 'function' ? storeDown() : storeDown) === 'open' &&
          claims.every(({ limit }) => limit.measure !== 'money')
        if (reason.code === 'store_failed' && open) return freeAdmission(false, statusesOf(groups, clock.interval()))
        throw reason
      } finally {
        for (const end of awaited) end()
      }
    },

    async look(claims) {
      const groups = bySubject(claims, managerOf)
      const never = claims.find(({ limit, units }) => units > largestClaim(limit))
      if (never !== undefined) return denial(groups, never, Number.POSITIVE_INFINITY, clock.interval())
      await withDeadline(deadlineMs, () => Promise.all(groups.map(look)), time).catch((error) => {
        throw unavailable(error)
      })
      const interval = clock.interval()
      const decision = claims.length === 0 ? freeAdmission(true) : interval && foresee(groups, interval)
      if (decision === undefined) throw new LimiterUnavailable('store_failed')
      return decision
    },

    failingFor: () => breaker.failingFor(),

    leases: (subject) => [...(managers.get(subject)?.leases.values() ?? [])],

    async close() {
      closed = true
      // What is in flight goes on, and is maintained until it has ended.
      if (breaker.failingFor() === undefined) {
        await Promise.allSettled([...managers.values(), ...retired].map((manager) => manager.release()))
      }
    },
  }
}

function unlessUnavailable(error: unknown): void {
  if (!(error instanceof LimiterUnavailable)) throw error
}
