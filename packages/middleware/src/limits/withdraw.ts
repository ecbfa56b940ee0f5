import { setTimeout as sleep } from 'node:timers/promises'
import { isTimeout, withDeadline } from '../pipeline/index.ts'
import type { RequestLimit } from '../policy/index.ts'
import { available, take } from './bucket.ts'
import type { StoreClock } from './clock.ts'
import { type Balance, balancesOf, parseRow, writeRow } from './row.ts'
import type { CounterStore } from './store.ts'

/** The store could not be reached, or others kept changing the row, until the deadline. Not a limit: try again. */
export class LimiterUnavailable extends Error {
  override readonly name = 'LimiterUnavailable'
  readonly code: 'contention' | 'store_failed'
  /** @param cause what the store threw last, if it did */
  constructor(code: 'contention' | 'store_failed', cause?: unknown) {
    super(code, { cause })
    this.code = code
  }
}

export interface Withdrawal {
  /** How many requests were taken: as many as were wanted and there. */
  readonly taken: number
  readonly balances: readonly Balance[]
  /** The store's time at which the balances hold, and our monotonic clock at that moment; milliseconds. */
  readonly at: number
  readonly seen: number
}

export interface WithdrawOptions {
  readonly store: CounterStore
  readonly clock: StoreClock
  readonly deadlineMs: number
  readonly now: () => number
  readonly random: () => number
}

const BACKOFF_MS = 12
const MAX_BACKOFF_MS = 400

/**
 * Takes as many of `wanted` requests as there are from all of a subject's limits, in one compare-and-swap that is
 * repeated with full jitter until it succeeds. A write whose fate is unknown is not counted on: what it may have taken
 * is lost, which can only admit too few.
 *
 * @throws LimiterUnavailable at the deadline.
 */
export async function withdraw(
  subject: string,
  limits: readonly RequestLimit[],
  wanted: number,
  { store, clock, deadlineMs, now, random }: WithdrawOptions,
): Promise<Withdrawal> {
  const deadline = now() + deadlineMs
  const call = <T>(work: (signal: AbortSignal) => Promise<T>) =>
    withDeadline(Math.max(1, deadline - now()), work).catch((error) => {
      // Our own deadline says less than what the store said before it.
      if (cause === undefined || !isTimeout(error)) cause = error
      return undefined
    })
  let failure: LimiterUnavailable['code'] = 'store_failed'
  let cause: unknown
  for (let tries = 0; now() < deadline; tries += 1) {
    if (tries > 0) await sleep(random() * Math.min(BACKOFF_MS * 2 ** tries, MAX_BACKOFF_MS, deadline - now()))
    const read = await call((signal) => store.read(subject, signal))
    if (read === undefined) continue
    if (read.time !== undefined) clock.observe(read.time)

    const at = clock.earliest()
    if (at === undefined) continue
    const seen = now()
    const row = parseRow(read.row?.text)
    const found = balancesOf(row, limits, at)
    const taken = Math.min(wanted, ...found.map(({ limit, bucket }) => available(bucket, limit)))
    if (taken === 0) return { taken, balances: found, at, seen }

    const left = found.map(({ limit, bucket }) => ({ limit, bucket: take(bucket, limit, taken) }))
    const written = await call((signal) => store.writeIfMatch(subject, writeRow(row, left, at), read.row?.etag, signal))
    if (written) return { taken, balances: left, at, seen }
    failure = written === false ? 'contention' : 'store_failed'
  }
  throw new LimiterUnavailable(failure, cause)
}
