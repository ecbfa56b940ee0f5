import { randomUUID } from 'node:crypto'
import { isOutage, isTimeout, pause, withDeadline } from '../../pipeline/index.ts'
import type { Limit } from '../../policy/index.ts'
import type { CounterRead } from '../stores/counter-store.ts'
import { isSet, type StoreInterval } from '../stores/store-clock.ts'
import { type Claim, LimiterUnavailable, type Subject } from './decision.ts'
import type { Lease } from './lease.ts'
import { abandon, beginWrite, commit, instancesIn, type LeaseWrite, planWrite, rollback } from './lease-write.ts'
import { parseRow, type Row, rollRow } from './row.ts'
import { checkLeases, lossOf, type RowLoss, rebuilt } from './row-loss.ts'
import type { Runtime } from './runtime.ts'

const BACKOFF_MS = 12
const MAX_BACKOFF_MS = 400
/** After this many writes of its own in a row, an instance that is alone goes by what it wrote and reads no more. */
const TRUSTED_AFTER = 2
/** For this long it goes by a single one, for a write without waiters: most often a return of unused units. Milliseconds. */
const TRUSTED_MS = 2_000

/** What a sync shall do beside granting what requests wait for. */
export interface SyncTask {
  /** Renew what is in flight, or write off what was spent. */
  readonly renew: boolean
  /** Return what is not needed: how many units of it a lease may keep. */
  readonly keep: (lease: Lease) => number
  /** The limits are no longer in force: accounts keep the size that another revision's have given them. */
  readonly isRetired: boolean
}

/** Brings one subject's leases and its row into line: a compare-and-swap loop. */
export interface LeaseSync {
  /**
   * Reads the row, and writes it if that grants, returns or renews anything; again with full jitter while others change it.
   *
   * @param waiters requests that wait for units, the first first; asked anew for each try
   * @param saw told of the row whenever it is seen, and whether this instance has just written it; and of `undefined` when
   *   what was seen may no longer hold
   * @throws LimiterUnavailable when time is up, or the row can't be read; what the store threw, where that is no outage
   */
  run(
    task: SyncTask,
    waiters: () => readonly { readonly claims: readonly Claim[] }[],
    saw: (row: Row | undefined, isOwnWrite?: boolean) => void,
  ): Promise<void>
  /** Instances that hold a lease by this row, this one included. */
  instances(row: Row): number
  /** Whether only this instance can change the row: no other holds a lease, and no earlier write may still be applied. */
  isAlone(row: Row): boolean
}

interface Version {
  readonly row: Row
  readonly etag: string | undefined
}

/** The sync of one subject. The caller must not run two at a time. */
export function leaseSync(subject: Subject, leases: ReadonlyMap<string, Lease>, runtime: Runtime): LeaseSync {
  const { store, clock, time, random, syncMs, rows, events } = runtime
  /** The slot in which this instance is counted among the holders. */
  let holder: number | undefined
  /** Writes whose outcome is unknown. All were sent over one version of the row, so at most one of them was applied. */
  let unknown: { readonly write: LeaseWrite; readonly etag: string | undefined }[] = []
  let own: (Version & { readonly writes: number; readonly at: number }) | undefined

  async function read(signal: AbortSignal): Promise<CounterRead> {
    const asked = clock.wall()
    const reply = await store.read(subject.id, signal)
    if (reply.time !== undefined) clock.observe(reply.time, asked)
    return reply
  }

  function versionOf({ row }: CounterRead): Version {
    return { row: parseRow(row?.text), etag: row?.etag }
  }

  /** Settles writes whose replies were lost, as far as the row shows which of them was applied. */
  function resolve({ row, etag }: Version): void {
    if (unknown.length === 0) return
    const applied = unknown.find((sent) => sent.write.row.nonce === row.nonce)
    if (applied !== undefined) complete(applied.write)
    else if (unknown.some((sent) => sent.etag !== etag)) {
      abandon(leases.values())
      holder = undefined
      unknown = []
    }
    // Else none was applied yet, and the next write over this version keeps them from it.
  }

  function complete(write: LeaseWrite): void {
    commit(write)
    holder = write.holder
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
   * The row brought forward, and checked against what this instance knows: rebuilt where it was lost since it was seen.
   *
   * @param known the row as it was seen before this version was asked for
   */
  function recover(
    { row, etag }: Version,
    known: Row | undefined,
    interval: StoreInterval,
    isRetired: boolean,
  ): { readonly row: Row; readonly loss: RowLoss | undefined } {
    const roll = (each: Row) => rollRow(each, subject.limits, interval, isRetired)
    const found = roll(row)
    const loss = lossOf(known, etag === undefined ? undefined : row)
    const whole = loss === undefined || known === undefined ? found : rebuilt(roll(known), found, loss)
    const checked = checkLeases(leases.values(), whole, interval, loss !== undefined)
    return { row: checked.row, loss: loss ?? (checked.isIncomplete ? 'incomplete' : undefined) }
  }

  const instances = (row: Row) => instancesIn(row, holder)
  const trusted = (isAwaited: boolean) => {
    if (!isSet(clock.interval()) || own === undefined || instances(own.row) > 1) return undefined
    const isRecent = !isAwaited && time.now() - own.at < TRUSTED_MS
    return own.writes >= TRUSTED_AFTER || isRecent ? own : undefined
  }

  async function run(...[task, waiters, saw]: Parameters<LeaseSync['run']>): Promise<void> {
    const until = time.now() + syncMs
    let failure: LimiterUnavailable['code'] = 'contention'
    let cause: unknown
    let fault: { readonly thrown: unknown } | undefined
    /** Half of the time for each call, so that one that hangs can be tried again. */
    const call = <T>(work: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> => {
      const ms = Math.min(until - time.now(), syncMs / 2)
      return withDeadline(Math.max(1, ms), work, time).catch((error) => {
        // A call that had less than its time says nothing of the store.
        if (isTimeout(error) && ms < syncMs / 2) return undefined
        if (!isOutage(error)) {
          // Thrown once it is noted that a write's outcome is unknown.
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

      const mine = trusted(waiters().length > 0)
      const known = rows.get(subject.id)
      const reply = mine === undefined ? await call(read) : undefined
      const version = mine ?? (reply && versionOf(reply))
      const interval = clock.interval()
      // By a clock that may be far off nothing is written: it would hold back every instance's refill.
      if (version === undefined || interval === undefined || !isSet(interval)) continue
      if (version.etag !== own?.etag) own = undefined
      resolve(version)
      const { row, loss } = recover(version, mine === undefined ? known : undefined, interval, task.isRetired)
      if (loss === undefined && version.etag !== undefined) rows.set(subject.id, version.row)
      // A row that this instance only remembers having written was not seen again.
      if (mine === undefined) saw(row)
      const nonce = randomUUID()
      const tells = loss !== undefined || lostBetween(version.row, row).length > 0
      const write = planWrite({
        ...task,
        tells,
        leases,
        row,
        nonce,
        time: interval,
        now: time.now(),
        waiting: waiters(),
        holder,
      })
      if (write === undefined) {
        if (mine === undefined || waiters().length === 0) return
        // What it remembers has nothing to grant: it reads the row before a request is refused.
        own = undefined
        continue
      }

      beginWrite(write)
      if (write.changes.some(({ returned }) => returned > 0)) saw(undefined)
      const written = await call(async (signal) => {
        const asked = clock.wall()
        const result = await store.writeIfMatch(subject.id, JSON.stringify(write.row), version.etag, signal)
        if (result.time !== undefined) clock.observe(result.time, asked)
        return result
      })
      if (written?.etag !== undefined) {
        complete(write)
        rows.set(subject.id, write.row)
        if (loss !== undefined) events.rowLost?.(subject.id, loss)
        for (const { limit, units } of lostBetween(version.row, write.row)) events.unitsLost?.(subject.id, limit, units)
        own = { row: write.row, etag: written.etag, writes: (own?.writes ?? 0) + 1, at: time.now() }
        saw(write.row, true)
        return
      }
      own = undefined
      saw(undefined)
      if (written === undefined) unknown.push({ write, etag: version.etag })
      else {
        rollback(write)
        failure = 'contention'
      }
    }
  }

  return { run, instances, isAlone: (row) => instances(row) === 1 && unknown.length === 0 }
}
