import type { RateLimit } from '../../policy/index.ts'
import type { StoreInterval } from '../stores/store-clock.ts'
import { available, type Bucket, type BucketSize, fullBucket, roll, waitFor } from './bucket.ts'
import { inOrder, NO_SLOTS, type Slots, slotEnd, together, unexpired, unitsIn, withBeside } from './slots.ts'

/** A bucket whose units are handed out: those left and those leased never exceed its capacity together. */
export interface RateAccount extends Bucket, BucketSize {
  readonly kind: 'rate'
  readonly out: Slots
  /**
   * What instances of another revision of the policy were handed beyond what this bucket had, in the level's units; absent for
   * nothing. What they give back unused pays for it first.
   */
  readonly owed?: number
  /** What instances hold that go by no limit of this key, and count here all the same; absent for nothing. */
  readonly beside?: Slots
}

export function openRate({ capacity, refill, periodMs }: RateLimit, { latest }: StoreInterval): RateAccount {
  return { kind: 'rate', capacity, refill, periodMs, ...fullBucket({ capacity, refill, periodMs }, latest), out: {} }
}

/**
 * Brings the account forward. What expires does so piece by piece: until a lease ends, its units leave no room for
 * refill, for they may still be spent.
 *
 * The promise is that any interval W of true time admits at most `capacity + refill · W`, with nothing added for what
 * the clock doesn't know. So refill is credited by `earliest`, and the account must also hold no more than its capacity
 * if it is `latest`: near the brim, where what could flow over is lost anyway, the refill between the two is skipped.
 */
export function rollRate(account: RateAccount, { earliest, latest }: StoreInterval): RateAccount {
  let bucket: Bucket = { level: levelOf(account), at: account.at }
  const beside = unexpired(account.beside ?? NO_SLOTS, earliest)
  const taken = takenOf(account)
  const left = unexpired(taken, earliest)
  if (left !== taken) {
    let out = unitsIn(taken)
    for (const [slot, units] of inOrder(taken)) {
      if (slotEnd(slot) > earliest) break
      bucket = roll(bucket, room(account, out), slotEnd(slot))
      out -= units
    }
  }
  const size = room(account, unitsIn(left))
  bucket = roll(bucket, size, earliest)
  // Of what is owed no more can be given back than others hold: the rest they have spent, by a limit of their own.
  const least = -unitsIn(beside) * size.periodMs
  const level = Math.max(least, Math.min(bucket.level, size.capacity * size.periodMs))
  const missing = size.capacity * size.periodMs - level
  const at = Math.max(bucket.at, latest - Math.floor(missing / size.refill))
  return withBeside({ ...withLevel(account, level), at, out: unexpired(account.out, earliest) }, beside)
}

/** All that is leased, and leaves no room for refill. */
export function takenOf({ out, beside }: RateAccount): Slots {
  return beside === undefined ? out : together(out, beside)
}

/** Below zero where more is owed than the bucket holds. */
export function levelOf({ level, owed = 0 }: RateAccount): number {
  return level - owed
}

/** @param level as `levelOf` tells it */
export function withLevel(account: RateAccount, level: number): RateAccount {
  if (level >= 0 && account.owed === undefined) return { ...account, level }
  const { owed: _, ...rest } = account
  return level < 0 ? { ...rest, level: 0, owed: -level } : { ...rest, level }
}

/** The bucket as small as it is while this many units are leased. */
function room({ capacity, refill, periodMs }: BucketSize, out: number): BucketSize {
  return { capacity: Math.max(0, capacity - out), refill, periodMs }
}

/** Carries the level over to a limit of another size; it never grows by the change. */
export function resizeRate(account: RateAccount, { capacity, refill, periodMs }: RateLimit): RateAccount {
  if (account.capacity === capacity && account.refill === refill && account.periodMs === periodMs) return account
  const leased = unitsIn(takenOf(account))
  const level = Math.min(levelOf(account), Math.max(0, capacity - leased) * periodMs)
  return { ...withLevel(account, level), capacity, refill, periodMs }
}

export function freeOfRate(account: RateAccount): number {
  return available(account, account)
}

/** The store time, in milliseconds, at which the account has this many units if no instance takes or returns any. */
export function rateHas(account: RateAccount, units: number): number {
  if (freeOfRate(account) >= units) return 0
  const taken = takenOf(account)
  let bucket: Bucket = { level: levelOf(account), at: account.at }
  let out = unitsIn(taken)
  const filledAt = (size: BucketSize) =>
    units <= size.capacity ? bucket.at + waitFor(bucket, size, bucket.at, units) : Number.POSITIVE_INFINITY
  for (const [slot, held] of inOrder(taken)) {
    const size = room(account, out)
    const filled = filledAt(size)
    if (filled <= slotEnd(slot)) return filled
    bucket = roll(bucket, size, slotEnd(slot))
    out -= held
  }
  return filledAt(room(account, out))
}
