import { LRUCache } from 'lru-cache'
import { isTimeout, pause, systemTime, type Time, withDeadline } from '../../pipeline/index.ts'
import { type Limit, largestClaim } from '../../policy/index.ts'
import type { CounterStore } from '../stores/counter-store.ts'
import { type StoreInterval, storeClock } from '../stores/store-clock.ts'
import type { Decision, Denial } from './decision.ts'
import type { Ground } from './ground.ts'
import { type Holding, holding, type Verdict } from './holding.ts'
import type { Lease } from './lease.ts'
import { NARROW_SUBJECT, narrow } from './narrow.ts'
import { outage } from './outage.ts'
import { freeAdmission, lacks, type Party, partiesOf, standingsOf, take } from './party.ts'
import type { Row } from './row.ts'
import type { RowLoss } from './row-loss.ts'
import { NEAR_MS } from './standing.ts'
import type { Claim, Subject } from './subject.ts'
import { LimiterUnavailable } from './unavailable.ts'

export interface LimiterEvents {
  /** The store fails. Told once, until it works again. */
  readonly storeFailed?: (cause: unknown) => void
  readonly storeRecovered?: (failedMs: number, failures: number) => void
  /** A row can't be read, or not as it is: its subject's requests are refused with 503 until it is mended. */
  readonly rowFailed?: (subject: string, cause: unknown) => void
  /** A programming fault, in work that no request waits for; what a request meets, `admit` throws. */
  readonly fault?: (subject: string, fault: unknown) => void
  /**
   * A row was lost (deleted, restored from a backup, its store emptied) and is rebuilt from what this instance had seen of
   * it. What no instance had seen counts from zero: up to one further quota may have been admitted.
   */
  readonly rowLost?: (subject: string, loss: RowLoss) => void
  /** An instance has died, or was cut off, with units of a budget in its hands: they count as spent. */
  readonly unitsLost?: (subject: string, limit: Limit, units: number) => void
}

export interface LimiterOptions {
  readonly store: CounterStore
  /** Longest wait for a decision, in milliseconds. */
  readonly deadlineMs: number
  readonly time?: Time
  /** A number in [0, 1), for jitter. */
  readonly random?: () => number
  /** What to do with requests while the store is down. Claims on money are refused in any case. Default: `closed`. */
  readonly storeDown?: 'closed' | 'open'
  readonly events?: LimiterEvents
}

export interface Limiter {
  /**
   * Takes from every limit that is claimed, or from none.
   *
   * @throws LimiterUnavailable when that can't be settled before the deadline, or the store is down; a programming fault
   * as it is.
   */
  admit(claims: readonly Claim[]): Promise<Decision>
  /** For how long the store has been failing, in milliseconds; `undefined` while it works. */
  failingFor(): number | undefined
  /** Leases of a subject, for tests and tools. */
  leases(subject: string): readonly Lease[]
  /** Gives back what is held, unless the store is down. To be called when the process ends. */
  close(): Promise<void>
}

type Known = Exclude<Verdict, { kind: 'ask' }>

const TEND_MS = 500
const MAX_TRIES = 100
/** Rows that are remembered to rebuild them: about a kilobyte each. */
const MOST_SEEN_ROWS = 5_000

/**
 * Exact limits over any number of instances, at a fraction of a store call a request.
 *
 * A limit's units are handed out: an instance leases some from the limit's centre, a row in the store, and spends them
 * without asking. What is in the centre and what is leased never exceed the limit together, and only the centre refills,
 * so that no crash, pause, lost reply or wrong clock can admit too much. More: docs/limits.md.
 */
export function limiter(options: LimiterOptions): Limiter {
  const { store, deadlineMs, time = systemTime, random = Math.random, storeDown = 'closed', events = {} } = options
  const now = () => time.now()
  const clock = storeClock(time)
  const down = outage({ time, random, began: events.storeFailed, ended: events.storeRecovered })
  const narrowing = narrow({ store, clock, time, fault: (thrown) => events.fault?.(NARROW_SUBJECT, thrown) })
  const holdings = new Map<string, Holding>()
  let closed = false
  /** Of subjects whose limits have changed: what is in flight under the old ones goes on. */
  const retired = new Set<Holding>()

  const ground: Ground = {
    store,
    clock,
    time,
    random,
    // A flight gives up a little before those that wait for it do, so that they learn what was wrong.
    flightMs: deadlineMs - Math.min(50, deadlineMs / 10),
    mayAsk: () => down.mayAsk(),
    landed: (outcome) => down.landed(outcome),
    rowFailed: (subject, cause) => events.rowFailed?.(subject, cause),
    fault: (subject, fault) => events.fault?.(subject, fault),
    rows: new LRUCache<string, Row>({ max: MOST_SEEN_ROWS }),
    rowLost: (subject, loss) => events.rowLost?.(subject, loss),
    lost: (subject, limit, units) => events.unitsLost?.(subject, limit, units),
  }

  const stop = time.every(TEND_MS, () => {
    for (const [id, held] of holdings) if (!tended(held)) holdings.delete(id)
    for (const held of retired) if (!tended(held)) retired.delete(held)
    if (closed && holdings.size + retired.size === 0) stop()
  })

  function tended(held: Holding): boolean {
    if (held.isForgettable()) return false
    held.tend()
    return true
  }

  function holdingOf(subject: Subject): Holding {
    const known = holdings.get(subject.id)
    if (known?.subject.limits === subject.limits) return known
    if (known !== undefined) {
      retired.add(known)
      void known.release()
    }
    const fresh = holding(subject, ground)
    holdings.set(subject.id, fresh)
    return fresh
  }

  async function acquire(parties: readonly Party[], gone: AbortSignal): Promise<Decision> {
    const since = time.now()
    // A wait must leave time to ask afterwards.
    const lastWait = since + (3 / 4) * deadlineMs
    let looks = 0
    for (let tries = 0; tries < MAX_TRIES && !gone.aborted; tries += 1) {
      const interval = clock.interval()
      if (interval === undefined) {
        await askAll(parties)
        continue
      }
      const admitted = take(parties, interval, now)
      if (admitted !== undefined) return admitted

      const asking: Party[] = []
      let last: { readonly party: Party; readonly verdict: Known } | undefined
      for (const party of parties) {
        if (!lacks(party, interval)) continue
        const verdict = party.held.verdict(party.claims, interval, since, looks)
        if (verdict.kind === 'ask') asking.push(party)
        else if (last === undefined || verdict.at > last.verdict.at) last = { party, verdict }
      }
      if (last === undefined) {
        await askAll(asking)
        continue
      }
      const { claim, kind, at } = last.verdict
      const waitMs = at - interval.earliest
      if (last.verdict.kind === 'look again' && time.now() + last.verdict.ms <= lastWait) {
        looks += 1
        await pause(last.verdict.ms, time)
        // Where that fails, what was seen already stands.
        await askAll([...asking, last.party]).catch(unlessUnavailable)
        continue
      }
      // A bucket that many wait for is as good as empty. A budget may just have begun anew: that is no refusal.
      const tooLong = time.now() + waitMs > lastWait
      if (tooLong && kind === 'wait' && claim.limit.kind === 'budget') break
      if (kind === 'wait') narrowing.start()
      if (tooLong || kind !== 'wait') return denial(parties, claim, waitMs - NEAR_MS, interval)
      // It may have room already, and will have for certain once the store's clock is surely past that moment.
      await Promise.all([askAll(asking), last.party.held.wait(last.party.claims, Math.max(1, waitMs), gone)])
    }
    throw new LimiterUnavailable('contention')
  }

  /** Asks the centres of all these subjects; what they hand out is kept until all have answered. */
  async function askAll(parties: readonly Party[]): Promise<void> {
    const asked = parties.map(ask)
    try {
      for (const release of await Promise.all(asked)) release()
    } catch (error) {
      // Those that have answered, or will, have handed out units that no request takes now.
      for (const [index, each] of asked.entries()) {
        each.then(
          (release) => {
            release()
            parties[index]?.held.touched()
          },
          () => {},
        )
      }
      throw error
    }
  }

  async function ask({ held, claims }: Party): Promise<() => void> {
    if (!down.mayAsk()) throw new LimiterUnavailable('store_failed')
    return held.ask(claims)
  }

  function denial(
    parties: readonly Party[],
    { subject, limit, units }: Claim,
    waitMs: number,
    interval: StoreInterval | undefined,
  ): Denial {
    // What was fetched for it alone lies idle now.
    for (const { held } of parties) held.touched()
    const standings = standingsOf(parties, interval)
    return { admitted: false, subject, limit, units, retryAfterMs: Math.max(1, waitMs), standings }
  }

  /** @throws what is neither the limiter's own word nor its deadline: a programming fault is no outage. */
  function unavailable(error: unknown): LimiterUnavailable {
    if (error instanceof LimiterUnavailable) return error
    if (!isTimeout(error)) throw error
    return new LimiterUnavailable(down.lasts() === undefined ? 'contention' : 'store_failed', error)
  }

  return {
    async admit(claims) {
      if (claims.length === 0) return freeAdmission(true)
      const parties = partiesOf(claims, holdingOf)
      const interval = clock.interval()
      const never = claims.find(({ limit, units }) => units > largestClaim(limit))
      if (never !== undefined) return denial(parties, never, Number.POSITIVE_INFINITY, interval)
      const admitted = interval && take(parties, interval, now)
      if (admitted !== undefined) return admitted
      const ended = new AbortController()
      try {
        return await withDeadline(deadlineMs, (late) => acquire(parties, AbortSignal.any([late, ended.signal])), time)
      } catch (error) {
        const reason = unavailable(error)
        const open = storeDown === 'open' && claims.every(({ limit }) => limit.measure !== 'money')
        if (reason.code === 'store_failed' && open) return freeAdmission(false, standingsOf(parties, clock.interval()))
        throw reason
      } finally {
        ended.abort()
      }
    },

    failingFor: () => down.lasts(),

    leases: (subject) => [...(holdings.get(subject)?.leases.values() ?? [])],

    async close() {
      closed = true
      // What is in flight goes on, and is tended until it has ended.
      if (down.lasts() === undefined) {
        await Promise.allSettled([...holdings.values(), ...retired].map((held) => held.release()))
      }
    },
  }
}

function unlessUnavailable(error: unknown): void {
  if (!(error instanceof LimiterUnavailable)) throw error
}
