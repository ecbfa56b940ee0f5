import { LRUCache } from 'lru-cache'
import { withDeadline } from '../pipeline/index.ts'
import type { RequestLimit } from '../policy/index.ts'
import { storeClock } from './clock.ts'
import { type Standing, standingOf, waitForRoom } from './standing.ts'
import type { CounterStore } from './store.ts'
import { LimiterUnavailable, withdraw } from './withdraw.ts'

export interface Decision {
  readonly admitted: boolean
  readonly standings: readonly Standing[]
}

export interface LimiterOptions {
  readonly store: CounterStore
  /** Longest wait for a decision, in milliseconds. */
  readonly deadlineMs: number
  /** Milliseconds on a monotonic clock. */
  readonly now: () => number
  /** A number in [0, 1), for jitter. */
  readonly random?: () => number
}

export interface Limiter {
  /**
   * Takes one request from every limit of the subject, or from none.
   *
   * @throws LimiterUnavailable when that can't be settled before the deadline.
   */
  admit(subject: string, limits: readonly RequestLimit[]): Promise<Decision>
}

interface Waiter {
  readonly limits: readonly RequestLimit[]
  /** Monotonic milliseconds; from then on nobody waits for the decision any more. */
  readonly until: number
  resolve(decision: Decision): void
  reject(reason: LimiterUnavailable): void
}

interface SubjectState {
  waiting: Waiter[]
  flying: boolean
  /** Where the subject was found empty: refusing costs no call until it has refilled. */
  empty?: Emptiness
}

interface Emptiness {
  readonly limits: readonly RequestLimit[]
  readonly standings: readonly Standing[]
  /** Monotonic milliseconds. */
  readonly since: number
  readonly until: number
}

const MAX_SUBJECTS = 10_000
/** So long is a subject taken for empty without another look: an operator may have reset it, or a VM have slept. */
const MAX_CERTAINTY_MS = 10_000

/**
 * Exact limits over any number of processes, by compare-and-swap on one row a subject.
 *
 * A process has at most one flight a subject: requests that arrive meanwhile wait and share the next, so a burst of N
 * costs two flights of two storage calls, and not 2 N calls. Since a bucket is refilled by time alone, one that was
 * found empty stays empty until its refill, and refuses without a call.
 */
export function limiter(options: LimiterOptions): Limiter {
  const { now, deadlineMs, random = Math.random } = options
  // A flight gives up a little before those that wait for it do, so that they learn what was wrong.
  const flightMs = deadlineMs - Math.min(50, deadlineMs / 10)
  const withdrawal = { ...options, deadlineMs: flightMs, clock: storeClock(now), random }
  const subjects = new LRUCache<string, SubjectState>({ max: MAX_SUBJECTS })

  async function fly(subject: string, state: SubjectState): Promise<void> {
    state.flying = true
    for (let first = state.waiting[0]; first !== undefined; first = state.waiting[0]) {
      const { limits } = first
      // Those that came with other limits (the policy has changed) take a flight of their own.
      const batch = state.waiting.filter((waiter) => waiter.limits === limits && now() < waiter.until)
      state.waiting = state.waiting.filter((waiter) => waiter.limits !== limits)
      if (batch.length === 0) continue
      try {
        await land(subject, state, limits, batch)
      } catch (error) {
        const reason = error instanceof LimiterUnavailable ? error : new LimiterUnavailable('store_failed', error)
        for (const waiter of batch) waiter.reject(reason)
      }
    }
    state.flying = false
  }

  async function land(subject: string, state: SubjectState, limits: readonly RequestLimit[], batch: readonly Waiter[]) {
    const { taken, balances, at, seen } = await withdraw(subject, limits, batch.length, withdrawal)
    const standings = balances.map((balance) => standingOf(balance, at))
    batch.forEach((waiter, index) => {
      const later = Math.max(0, taken - 1 - index)
      const own = standings.map((standing) => ({ ...standing, remaining: standing.remaining + later }))
      waiter.resolve({ admitted: index < taken, standings: own })
    })
    const wait = waitForRoom(standings)
    if (wait > 0) state.empty = { limits, standings, since: seen, until: seen + Math.min(wait, MAX_CERTAINTY_MS) }
    else delete state.empty
  }

  function begin(subject: string): SubjectState {
    const state: SubjectState = { waiting: [], flying: false }
    subjects.set(subject, state)
    return state
  }

  return {
    async admit(subject, limits) {
      const state = subjects.get(subject) ?? begin(subject)
      const { empty } = state
      if (empty?.limits === limits && now() < empty.until) {
        const age = now() - empty.since
        return { admitted: false, standings: empty.standings.map((standing) => aged(standing, age)) }
      }
      const { promise, resolve, reject } = Promise.withResolvers<Decision>()
      state.waiting.push({ limits, until: now() + deadlineMs, resolve, reject })
      if (!state.flying) void fly(subject, state)
      return withDeadline(deadlineMs, () => promise).catch((error) => {
        throw error instanceof LimiterUnavailable ? error : new LimiterUnavailable('store_failed', error)
      })
    },
  }
}

function aged(standing: Standing, ms: number): Standing {
  return { ...standing, nextMs: Math.max(0, Math.ceil(standing.nextMs - ms)) }
}
