import { type Limit, largestClaim } from '../../policy/index.ts'
import { type Account, free, hasUnits, rollAccount, withoutSpent, withReturned } from '../accounts/account.ts'
import { slotEnd } from '../accounts/slots.ts'
import { isSet, type StoreInterval } from '../stores/store-clock.ts'
import { type Errand, pilot } from './flight.ts'
import type { Ground } from './ground.ts'
import { close, emptyLease, type Lease, spentOf, unbookedOf } from './lease.ts'
import { accountIn, renewable } from './plan.ts'
import { type Row, RowUnreadable, rollRow } from './row.ts'
import { BUDGET_SURPLUS_SHARE, holdsBackRefill, LEAST_SURPLUS, mustNotIdle, surplus } from './sizing.ts'
import { NEAR_MS } from './standing.ts'
import type { Claim, Subject } from './subject.ts'
import { LimiterUnavailable } from './unavailable.ts'

/** What the centre, as it was last seen, says of claims that can't be met out of the lease. */
export type Verdict =
  /** Not known, or perhaps out of date. */
  | { readonly kind: 'ask' }
  /** It has none, or perhaps some: the store time, in milliseconds, at which it has enough for certain. */
  | { readonly kind: 'wait' | 'refuse'; readonly at: number; readonly claim: Claim }
  /** It has none but for what others hold, which may be on its way back: to be asked again after `ms`. */
  | { readonly kind: 'look again'; readonly ms: number; readonly at: number; readonly claim: Claim }

/** What an instance holds of one subject's limits, and what it knows of their centre. */
export interface Holding {
  readonly subject: Subject
  readonly leases: ReadonlyMap<string, Lease>
  /**
   * @param since when the request came, by our monotonic clock: what was seen after that holds for it
   * @param looks how often it has looked again for what others hold
   */
  verdict(claims: readonly Claim[], time: StoreInterval, since: number, looks: number): Verdict
  /**
   * Waits until it is certain that the centre has what it perhaps has now, ahead of those that come later.
   *
   * @param gone aborts when the request waits no longer
   */
  wait(claims: readonly Claim[], ms: number, gone: AbortSignal): Promise<void>
  /**
   * Waits until the centre was asked for these units. What it has handed out is kept for them until the returned function
   * is called, so that it is not given back while another subject's centre is still being asked.
   *
   * @throws LimiterUnavailable; a programming fault, as it is
   */
  ask(claims: readonly Claim[]): Promise<() => void>
  /** To be called when units were taken or have come back: looks ahead. */
  touched(): void
  /** To be called now and then: renews what is in flight, gives back what lies idle, ends what can't be kept. */
  tend(): void
  /** The row as it was last seen, brought forward. */
  view(time: StoreInterval): Row | undefined
  /** Gives back all that is held. */
  release(): Promise<void>
  /** Whether nothing would be missed if the holding were forgotten. */
  isForgettable(): boolean
}

/** What the next flight shall see to, beside those who wait. */
interface Wish {
  /** To renew what is in flight, or to write off what was spent. */
  renew: boolean
  /** To give back what lies idle. */
  tidy: boolean
  /** Leases of which all that is held goes back. */
  readonly free: Set<Lease>
}

interface Need {
  readonly claims: readonly Claim[]
  resolve(release: () => void): void
  reject(reason: unknown): void
}

/** So long is an empty centre taken for empty: while others could give something back, and while nobody else can. */
const SHARED_CERTAINTY_MS = 250
const SOLE_CERTAINTY_MS = 10_000
/**
 * How long a request that lacks what others hold waits before it looks at the centre again, each time; milliseconds. What
 * a request that has ended elsewhere did not use is given back within two round trips: what is not back after the last
 * look is in flight.
 */
const LOOK_AGAIN_MS = [40, 70, 140]
/** A told wait that differs by less is the same for a caller. */
const TELLING_MS = 1_000
/** A lease that will be used up so soon is renewed ahead. */
const AHEAD_MS = 500
/** What was spent is written off a moment later, so that a burst is written off once. */
const WRITE_OFF_MS = 25
/** What a read and a write take, on a bad day. */
const ROUND_TRIPS_MS = 75
/** What has not been used for so long is given back. */
const IDLE_MS = 5_000
const FORGET_MS = 60_000
const LEFT_OVER_MS = 400
/** What is in flight is renewed so long before its lease ends. */
const RENEW_MS = 12_000
/** A slot in use is given up so long before others may take it for free. */
const GIVE_UP_MS = 1_000
/** Of so few slots each is given back as soon as it is free; of more, when half of them are in use. */
const FEW_SLOTS = 8
const MANY_SLOTS = 64
/** So long before its end a lease is renewed that would be missed. */
const LOSS_MS = 1_500
/** A debt that a centre could not pay is presented again after so long. */
const PAY_EVERY_MS = 10_000

export function holding(subject: Subject, ground: Ground): Holding {
  const { clock, time, random } = ground
  const leases = new Map<string, Lease>(subject.limits.map((limit) => [limit.key, emptyLease(limit, time.now())]))
  const { fly, instances, isAlone } = pilot(subject, leases, ground)
  let waiting: Need[] = []
  /** Units that requests wait for until the store's clock is certain, by limit. */
  const queued = new Map<string, number>()
  let flight: Promise<void> | undefined
  let next: Wish | undefined
  let seen:
    | { readonly row: Row; readonly instances: number; readonly at: number; readonly certainMs: number }
    | undefined
  let rolled: { readonly seen: Row; readonly at: number; readonly row: Row } | undefined
  let closing = false
  let paidAt = Number.NEGATIVE_INFINITY
  let aheadAt = Number.NEGATIVE_INFINITY
  let writingOff = false
  /** Units that the centre has handed out for requests that have not taken them yet, by limit. */
  const kept = new Map<string, number>()
  /** The last refusal of each limit: when, and of how many units. */
  const refused = new Map<string, { readonly at: number; readonly units: number }>()

  function saw(row: Row | undefined): void {
    if (row === undefined) {
      if (seen !== undefined) seen = { ...seen, at: Number.NEGATIVE_INFINITY }
      return
    }
    const certainMs = isAlone(row) ? SOLE_CERTAINTY_MS : SHARED_CERTAINTY_MS * (0.75 + 0.25 * random())
    seen = { row, instances: instances(row), at: time.now(), certainMs }
  }

  /** Many ask in the same moment, when a burst is refused: then it is rolled once. */
  function view({ earliest }: StoreInterval): Row | undefined {
    if (seen === undefined) return undefined
    if (rolled?.seen !== seen.row || rolled.at !== earliest) {
      // What rolling skips for safety is skipped when it is written, and not by looking.
      const row = rollRow(seen.row, subject.limits, { earliest, latest: earliest })
      rolled = { seen: seen.row, at: earliest, row }
    }
    return rolled.row
  }

  async function flyOnce(errand: Errand): Promise<void> {
    let aboard: readonly Need[] = []
    const leave = () => {
      waiting = waiting.filter((need) => !aboard.includes(need))
    }
    try {
      await fly(errand, () => (aboard = [...waiting]), saw)
      leave()
      for (const need of aboard) need.resolve(keepFor(need.claims))
      ground.landed('ok')
    } catch (error) {
      aboard = waiting
      leave()
      const reason = error instanceof RowUnreadable ? new LimiterUnavailable('row_failed', error) : error
      for (const need of aboard) need.reject(reason)
      if (!(reason instanceof LimiterUnavailable)) {
        // Who waits throws it on; where no request does, it is told here.
        if (aboard.length === 0) ground.fault(subject.id, reason)
        return
      }
      if (reason.code === 'row_failed') ground.rowFailed(subject.id, reason.cause)
      ground.landed(reason)
    }
  }

  function count(units: Map<string, number>, claims: readonly Claim[], sign: 1 | -1): void {
    for (const claim of claims) {
      const { key } = claim.limit
      units.set(key, (units.get(key) ?? 0) + sign * claim.units)
    }
  }

  function keepFor(claims: readonly Claim[]): () => void {
    count(kept, claims, 1)
    return () => count(kept, claims, -1)
  }

  /** Held beyond what requests come for at this moment. */
  const spareOf = ({ limit, held }: Lease) => held - (kept.get(limit.key) ?? 0)

  /**
   * How long to wait before another look, in milliseconds; `undefined` where that could not help. It can while others hold
   * what is missing: what had come back elsewhere when the request came may not be given back yet.
   */
  function lookAgainMs(claim: Claim, at: number, row: Row, interval: StoreInterval, looks: number): number | undefined {
    if (claim.limit.measure === 'requests') return undefined
    const unlessHeld = roomAt(claim, row, interval, true)
    const isHeld = unlessHeld <= interval.latest + NEAR_MS || unlessHeld + TELLING_MS <= at
    return isHeld && !wasRefused(claim) ? LOOK_AGAIN_MS[looks] : undefined
  }

  /**
   * Whether what was seen before the request came is too old to refuse it: another instance may have taken some of a
   * bucket meanwhile for smaller requests, and then the told wait would be too short.
   */
  function isStale(claim: Claim, since: number): boolean {
    const { kind, measure } = claim.limit
    return kind === 'rate' && measure !== 'requests' && (seen?.at ?? 0) < since && !wasRefused(claim)
  }

  /** Whether as much was refused a moment ago: of a flood only one request in that time looks at the centre. */
  function wasRefused({ limit, units }: Claim): boolean {
    const last = refused.get(limit.key)
    return last !== undefined && units >= last.units && time.now() - last.at < SHARED_CERTAINTY_MS
  }

  /**
   * The store time, in milliseconds, at which there is room for a claim, behind those that wait already.
   *
   * @param isReturned as if all that others hold had come back
   */
  function roomAt({ limit, units }: Claim, row: Row, interval: StoreInterval, isReturned = false): number {
    const lease = leases.get(limit.key)
    if (lease === undefined) return 0
    const leased = accountIn(row, lease)
    const account = isReturned ? withReturned(leased, lease.slot, lease.booked) : leased
    const spent = spentOf(lease)
    const centre = holdsBackRefill({ lease, account, instances: instances(row) }, spent)
      ? withoutSpent(writtenOffBy(account, interval), lease.slot, spent)
      : account
    // A lease that has perhaps ended, and still stands in the row, can be renewed.
    const debt = limit.kind === 'budget' && interval.latest >= lease.endsAt ? 0 : lease.debt
    const own = units + debt + unbookedOf(lease) - renewable(lease, account, interval)
    const missing = Math.min(own, largestClaim(limit))
    const ahead = queued.get(limit.key) ?? 0
    const behind = hasUnits(centre, limit, missing + ahead, interval)
    if (Number.isFinite(behind)) return behind
    // All of them together are more than the limit ever has at once.
    return hasUnits(centre, limit, missing, interval) + refillMs(limit, ahead)
  }

  /** One flight at a time; what comes up meanwhile shares the next. */
  function depart(wish: Partial<Wish> = {}): Promise<void> {
    next ??= { renew: false, tidy: false, free: new Set() }
    next.renew ||= wish.renew ?? false
    next.tidy ||= wish.tidy ?? false
    for (const lease of wish.free ?? []) next.free.add(lease)
    flight ??= flyAll()
    return flight
  }

  async function flyAll(): Promise<void> {
    // Those that come in the same moment share the first flight.
    await null
    try {
      while (next !== undefined || waiting.length > 0) {
        const { renew = false, tidy = false, free } = next ?? {}
        next = undefined
        const most = (lease: Lease) => {
          const may = free?.has(lease) ? 0 : tidy ? keep(lease) : Number.POSITIVE_INFINITY
          return Math.max(may, kept.get(lease.limit.key) ?? 0)
        }
        // What nobody waits for can wait until the store works again.
        if (waiting.length > 0 || ground.mayAsk()) await flyOnce({ renew, keep: most })
      }
    } finally {
      flight = undefined
    }
  }

  function writeOffSoon(): void {
    if (writingOff) return
    writingOff = true
    time.after(WRITE_OFF_MS, () => {
      writingOff = false
      void depart({ renew: true })
    })
  }

  const idleFor = ({ usedAt }: Lease) => (closing ? Number.POSITIVE_INFINITY : time.now() - usedAt)

  /** How long a rate would take to bring back what is held, if that were lost with the lease's end; milliseconds. */
  const worthMs = ({ limit, held }: Lease) => (limit.kind === 'rate' ? (held * limit.periodMs) / limit.refill : 0)

  /** Whether others could miss what a lease holds: of a budget all, since it never comes back; else a real share. */
  const isMissed = (lease: Lease) =>
    lease.limit.kind !== 'rate' || lease.held > lease.limit.capacity / 16 || worthMs(lease) > IDLE_MS

  /** Whether what a lease holds beyond what requests come for is to be given back at once. */
  function isOwedBack(lease: Lease): boolean {
    const interval = clock.interval()
    const account = seen?.row.accounts[lease.limit.key]
    if (interval === undefined || seen === undefined || account === undefined) return false
    const situation = { lease, account, instances: seen.instances, time: interval, now: time.now() }
    return areFew(lease, account, interval) || mustNotIdle(situation)
  }

  /** What a lease may keep: of what lies idle nothing, and of what came back unused as much as requests need at once. */
  function keep(lease: Lease): number {
    const { limit, held, largest, slot } = lease
    if (held <= 0 || slot === undefined) return Number.POSITIVE_INFINITY
    if (closing) return 0
    if (idleFor(lease) >= LEFT_OVER_MS && isOwedBack(lease)) return 0
    // Of a small limit nothing is held but what a request was to have that was then turned away further in.
    const isLeftOver = isSmall(limit) && held < LEAST_SURPLUS && idleFor(lease) >= LEFT_OVER_MS
    if (isMissed(lease) && (isLeftOver || idleFor(lease) >= IDLE_MS)) return 0
    if (limit.measure === 'requests' || limit.kind === 'concurrency') return Number.POSITIVE_INFINITY
    const share = limit.kind === 'rate' ? limit.capacity / 16 : limit.quota / 250
    return held > Math.max(4 * largest, share) ? Math.ceil(2 * largest) : Number.POSITIVE_INFINITY
  }

  function needsRenewal(lease: Lease, { latest }: StoreInterval): boolean {
    const { limit, slot, inFlight, booked, endsAt } = lease
    if (unbookedOf(lease) > 0) return true
    if (slot === undefined) return false
    // A budget's holder that is not heard of is taken for dead; a rate's lease takes along what it holds.
    if (inFlight > 0 || (limit.kind === 'budget' && booked > 0)) return latest + RENEW_MS >= slotEnd(slot)
    return limit.kind === 'rate' && isMissed(lease) && lease.held > 0 && latest + LOSS_MS >= endsAt
  }

  return {
    subject,
    leases,

    verdict(claims, interval, since, looks) {
      const { earliest, latest } = interval
      const row = view(interval)
      const isFresh = seen !== undefined && (seen.at >= since || time.now() - seen.at < seen.certainMs)
      if (row === undefined || !isFresh || !isSet(interval)) return { kind: 'ask' }
      let last: { readonly at: number; readonly claim: Claim } | undefined
      for (const claim of claims) {
        const at = roomAt(claim, row, interval)
        if (last === undefined || at > last.at) last = { at, claim }
      }
      if (last === undefined || last.at <= earliest) return { kind: 'ask' }
      if (last.at <= latest + NEAR_MS) return { kind: 'wait', ...last }
      const { claim } = last
      if (isStale(claim, since)) return { kind: 'ask' }
      const ms = lookAgainMs(claim, last.at, row, interval, looks)
      if (ms !== undefined) return { kind: 'look again', ms, ...last }
      if (!wasRefused(claim)) refused.set(claim.limit.key, { at: time.now(), units: claim.units })
      return { kind: 'refuse', ...last }
    },

    async wait(claims, ms, gone) {
      count(queued, claims, 1)
      await new Promise<void>((resolve) => {
        const stop = time.after(ms, resolve)
        gone.addEventListener('abort', () => {
          stop()
          resolve()
        })
      })
      count(queued, claims, -1)
    },

    ask(claims) {
      const { promise, resolve, reject } = Promise.withResolvers<() => void>()
      waiting.push({ claims, resolve, reject })
      if (flight === undefined) void depart()
      return promise
    },

    touched() {
      const interval = clock.interval()
      if (interval === undefined || seen === undefined) return
      const now = time.now()
      for (const lease of leases.values()) {
        const account = seen.row.accounts[lease.limit.key]
        if (account === undefined || lease.slot === undefined) continue
        const situation = { lease, account, instances: seen.instances, time: interval, now }
        if (isOwedBack(lease) && spareOf(lease) > 0) void depart({ free: new Set([lease]) })
        else if (holdsBackRefill(situation, spentOf(lease))) writeOffSoon()
        const soon = lease.demand.rate(now) * AHEAD_MS
        if (soon < 1 || now - aheadAt < SHARED_CERTAINTY_MS) continue
        const ends = lease.limit.kind !== 'budget' && interval.latest + AHEAD_MS >= lease.endsAt
        if (!ends && (lease.held >= soon || surplus(situation, 0) === 0)) continue
        aheadAt = now
        if (flight === undefined) void depart({ renew: ends })
      }
    },

    tend() {
      const interval = clock.interval()
      if (interval === undefined) return
      for (const lease of leases.values()) {
        const ends = lease.limit.kind === 'concurrency' && interval.latest + GIVE_UP_MS >= lease.endsAt
        if (ends && lease.inFlight > 0) close(lease)
      }
      if (flight !== undefined) return
      const all = [...leases.values()]
      const renew = all.some((lease) => needsRenewal(lease, interval))
      const owes = all.some(({ debt }) => debt > 0) && time.now() - paidAt >= PAY_EVERY_MS
      if (owes) paidAt = time.now()
      const isOwed = all.some((lease) => lease.frozen > 0 || keep(lease) < lease.held)
      if (renew || owes || isOwed) void depart({ renew, tidy: true })
    },

    view,

    async release() {
      closing = true
      await flight
      if ([...leases.values()].some(({ held }) => held > 0)) await depart({ tidy: true })
    },

    isForgettable() {
      const { latest = 0 } = clock.interval() ?? {}
      const isQuiet = flight === undefined && waiting.length === 0 && [...queued.values()].every((units) => units === 0)
      return (
        isQuiet &&
        [...leases.values()].every(
          (lease) =>
            idleFor(lease) >= FORGET_MS &&
            lease.inFlight === 0 &&
            lease.debt === 0 &&
            (lease.held === 0 || latest >= lease.endsAt),
        )
      )
    },
  }
}

/** Whether so few units are handed out that none of them is a surplus. A bucket's surplus is never so small. */
function isSmall(limit: Limit): boolean {
  return limit.kind === 'rate' || (limit.kind === 'budget' && limit.quota * BUDGET_SURPLUS_SHARE < LEAST_SURPLUS)
}

/** About how long a limit takes to bring so many units, in milliseconds. */
function refillMs(limit: Limit, units: number): number {
  if (limit.kind === 'rate') return Math.ceil((units * limit.periodMs) / limit.refill)
  return limit.kind === 'budget' ? 60_000 : 1_000
}

/** What was spent leaves no room for refill until it is written off, which takes a moment from now. */
function writtenOffBy(account: Account, { earliest, latest }: StoreInterval): Account {
  return rollAccount(account, { earliest, latest: latest + WRITE_OFF_MS + ROUND_TRIPS_MS })
}

/** Whether slots are so few that one that is free must be given back at once. */
function areFew({ limit }: Lease, account: Account, interval: StoreInterval): boolean {
  if (limit.kind !== 'concurrency' || limit.quota >= MANY_SLOTS) return false
  return limit.quota <= FEW_SLOTS || free(account, limit, interval) <= limit.quota / 2
}
