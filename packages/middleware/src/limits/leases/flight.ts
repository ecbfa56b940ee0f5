import { randomUUID } from 'node:crypto'
import { isOutage, isTimeout, pause, withDeadline } from '../../pipeline/index.ts'
import type { Limit } from '../../policy/index.ts'
import type { CounterRead } from '../stores/counter-store.ts'
import { isSet, type StoreInterval } from '../stores/store-clock.ts'
import type { Ground } from './ground.ts'
import type { Lease } from './lease.ts'
import { commit, depart, forfeit, instancesIn, type Plan, plan, undo } from './plan.ts'
import { parseRow, type Row, rollRow } from './row.ts'
import { checkLeases, lossOf, type RowLoss, rebuilt } from './row-loss.ts'
import type { Claim, Subject } from './subject.ts'
import { LimiterUnavailable } from './unavailable.ts'

const BACKOFF_MS = 12
const MAX_BACKOFF_MS = 400
/** After so many writes of its own in a row, an instance that is alone trusts what it wrote and reads no more. */
const TRUSTED_AFTER = 2
/** How long it trusts a single one for a write without waiters, in milliseconds: most often a return of unused units. */
const TRUSTED_MS = 2_000

/** Why a flight is made when nobody waits for it. */
export interface Errand {
  /** To renew what is in flight, or to write off what was spent. */
  readonly renew: boolean
  /** To give back what lies idle: how much of it a lease may keep. */
  readonly keep: (lease: Lease) => number
}

export interface Pilot {
  /**
   * Looks at the centre, and writes if that serves anybody: repeated with full jitter until it is settled. The plan that
   * was applied, or `undefined` where there was nothing to write.
   *
   * @param boarding those who wait, the first first; asked anew for each try
   * @param saw told of the row whenever it is seen, and of `undefined` when what was seen may no longer hold
   * @throws LimiterUnavailable when time is up, or the row can't be read; what the store threw, where that is no outage
   */
  fly(
    errand: Errand,
    boarding: () => readonly { readonly claims: readonly Claim[] }[],
    saw: (row: Row | undefined) => void,
  ): Promise<void>
  /** Instances that hold a lease by this row, this one among them. */
  instances(row: Row): number
  /** Whether nobody else can change the row for the better: no other instance, and no write that may still land. */
  isAlone(row: Row): boolean
}

interface Version {
  readonly row: Row
  readonly etag: string | undefined
}

/** The way between one subject's leases and its row. One flight at a time: that is the caller's to see to. */
export function pilot(subject: Subject, leases: ReadonlyMap<string, Lease>, ground: Ground): Pilot {
  const { store, clock, time, random, flightMs, rows } = ground
  /** Where this instance is counted among the holders. */
  let holder: number | undefined
  /** Writes whose fate is unknown. All were sent over one version of the row, so at most one of them was applied. */
  let unknown: { readonly plan: Plan; readonly etag: string | undefined }[] = []
  let own: (Version & { readonly writes: number; readonly at: number }) | undefined

  async function look(signal: AbortSignal): Promise<CounterRead> {
    const asked = clock.wall()
    const read = await store.read(subject.id, signal)
    if (read.time !== undefined) clock.observe(read.time, asked)
    return read
  }

  function versionOf({ row }: CounterRead): Version {
    return { row: parseRow(row?.text), etag: row?.etag }
  }

  /** What became of the writes whose replies were lost, as far as the row tells. */
  function resolve({ row, etag }: Version): void {
    if (unknown.length === 0) return
    const applied = unknown.find((sent) => sent.plan.row.nonce === row.nonce)
    if (applied !== undefined) land(applied.plan)
    else if (unknown.some((sent) => sent.etag !== etag)) {
      forfeit(leases.values())
      holder = undefined
      unknown = []
    }
    // Else none has landed, and the next write over this version keeps them from it.
  }

  function land(plan: Plan): void {
    commit(plan)
    holder = plan.holder
    unknown = []
  }

  /** Units of budgets that were lost between two versions. */
  function lostBetween(before: Row, after: Row): { readonly limit: Limit; readonly units: number }[] {
    return [...leases.values()].flatMap(({ limit }) => {
      const [was, is] = [before.accounts[limit.key], after.accounts[limit.key]]
      if (was?.kind !== 'budget' || is?.kind !== 'budget' || was.epoch !== is.epoch) return []
      return is.lost > was.lost ? [{ limit, units: is.lost - was.lost }] : []
    })
  }

  /**
   * The row brought forward, and held against what this instance knows: rebuilt where it was lost since it was seen.
   *
   * @param known the row as it was seen before this version was asked for
   */
  function recover(
    { row, etag }: Version,
    known: Row | undefined,
    interval: StoreInterval,
  ): { readonly row: Row; readonly loss: RowLoss | undefined } {
    const found = rollRow(row, subject.limits, interval)
    const loss = lossOf(known, etag === undefined ? undefined : row)
    const whole =
      loss === undefined || known === undefined ? found : rebuilt(rollRow(known, subject.limits, interval), found, loss)
    const checked = checkLeases(leases.values(), whole, interval, loss !== undefined)
    return { row: checked.row, loss: loss ?? (checked.isIncomplete ? 'incomplete' : undefined) }
  }

  const instances = (row: Row) => instancesIn(row, holder)
  const trusted = (isAwaited: boolean) => {
    if (!isSet(clock.interval()) || own === undefined || instances(own.row) > 1) return undefined
    const isRecent = !isAwaited && time.now() - own.at < TRUSTED_MS
    return own.writes >= TRUSTED_AFTER || isRecent ? own : undefined
  }

  async function fly(...[errand, boarding, saw]: Parameters<Pilot['fly']>): Promise<void> {
    const until = time.now() + flightMs
    let failure: LimiterUnavailable['code'] = 'contention'
    let cause: unknown
    let fault: { readonly thrown: unknown } | undefined
    /** Half of the time for each call, so that one that hangs can be tried again. */
    const call = <T>(work: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> => {
      const ms = Math.min(until - time.now(), flightMs / 2)
      return withDeadline(Math.max(1, ms), work, time).catch((error) => {
        // A call that had less than its time says nothing of the store.
        if (isTimeout(error) && ms < flightMs / 2) return undefined
        if (!isOutage(error)) {
          // Thrown once it is noted that a write's fate is unknown.
          fault = { thrown: error }
          return undefined
        }
        cause ??= error
        failure = 'store_failed'
        return undefined
      })
    }

    for (let tries = 0; ; tries += 1) {
      if (fault !== undefined) throw fault.thrown
      const backoff = random() * Math.min(BACKOFF_MS * 2 ** tries, MAX_BACKOFF_MS)
      if (tries > 0) await pause(Math.max(0, Math.min(backoff, until - time.now())), time)
      if (time.now() >= until) throw new LimiterUnavailable(failure, cause)

      const mine = trusted(boarding().length > 0)
      const known = rows.get(subject.id)
      const read = mine === undefined ? await call(look) : undefined
      const version = mine ?? (read && versionOf(read))
      const interval = clock.interval()
      // By a clock that may be far off nothing is written: it would hold back everybody's refill.
      if (version === undefined || interval === undefined || !isSet(interval)) continue
      if (version.etag !== own?.etag) own = undefined
      resolve(version)
      const { row, loss } = recover(version, mine === undefined ? known : undefined, interval)
      if (loss === undefined && version.etag !== undefined) rows.set(subject.id, version.row)
      // What it wrote itself it has not seen again.
      if (mine === undefined) saw(row)
      const nonce = randomUUID()
      const tells = loss !== undefined || lostBetween(version.row, row).length > 0
      const next = plan({
        ...errand,
        tells,
        leases,
        row,
        nonce,
        time: interval,
        now: time.now(),
        waiting: boarding(),
        holder,
      })
      if (next === undefined) {
        if (mine === undefined || boarding().length === 0) return
        // Nothing to give by what it wrote itself: then it looks again before anybody is refused.
        own = undefined
        continue
      }

      depart(next)
      if (next.moves.some(({ returned }) => returned > 0)) saw(undefined)
      const written = await call(async (signal) => {
        const asked = clock.wall()
        const result = await store.writeIfMatch(subject.id, JSON.stringify(next.row), version.etag, signal)
        if (result.time !== undefined) clock.observe(result.time, asked)
        return result
      })
      if (written?.etag !== undefined) {
        land(next)
        rows.set(subject.id, next.row)
        if (loss !== undefined) ground.rowLost(subject.id, loss)
        for (const { limit, units } of lostBetween(version.row, next.row)) ground.lost(subject.id, limit, units)
        own = { row: next.row, etag: written.etag, writes: (own?.writes ?? 0) + 1, at: time.now() }
        saw(next.row)
        return
      }
      own = undefined
      saw(undefined)
      if (written === undefined) unknown.push({ plan: next, etag: version.etag })
      else {
        undo(next)
        failure = 'contention'
      }
    }
  }

  return { fly, instances, isAlone: (row) => instances(row) === 1 && unknown.length === 0 }
}
