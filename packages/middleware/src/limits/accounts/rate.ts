import type { RateLimit } from '../../policy/index.ts'
import type { StoreInterval } from '../stores/store-clock.ts'
import { available, type Bucket, type BucketSize, fullBucket, roll, waitFor } from './bucket.ts'
import { inOrder, type Slots, slotEnd, unexpired, unitsIn } from './slots.ts'

/** A bucket whose units are handed out: those left and those leased never exceed its capacity together. */
export interface RateAccount extends Bucket, BucketSize {
  readonly kind: 'rate'
  readonly out: Slots
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
  let bucket: Bucket = account
  const left = unexpired(account.out, earliest)
  if (left !== account.out) {
    let out = unitsIn(account.out)
    for (const [slot, units] of inOrder(account.out)) {
      if (slotEnd(slot) > earliest) break
      bucket = roll(bucket, room(account, out), slotEnd(slot))
      out -= units
    }
  }
  const size = room(account, unitsIn(left))
  bucket = roll(bucket, size, earliest)
  const level = Math.min(bucket.level, size.capacity * size.periodMs)
  const missing = size.capacity * size.periodMs - level
  const at = Math.max(bucket.at, latest - Math.floor(missing / size.refill))
  return { ...account, level, at, out: left }
}

/** The bucket as small as it is while this many units are leased. */
function room({ capacity, refill, periodMs }: BucketSize, out: number): BucketSize {
  return { capacity: Math.max(0, capacity - out), refill, periodMs }
}

/** Carries the level over to a limit of another size; it never grows by the change. */
export function resizeRate(account: RateAccount, { capacity, refill, periodMs }: RateLimit): RateAccount {
  if (account.capacity === capacity && account.refill === refill && account.periodMs === periodMs) return account
  const level = Math.min(account.level, Math.max(0, capacity - unitsIn(account.out)) * periodMs)
  return { ...account, capacity, refill, periodMs, level }
}

export function freeOfRate(account: RateAccount): number {
  return available(account, account)
}

/** The store time, in milliseconds, at which the account has this many units if no instance takes or returns any. */
export function rateHas(account: RateAccount, units: number): number {
  if (freeOfRate(account) >= units) return 0
  let bucket: Bucket = account
  let out = unitsIn(account.out)
  const filledAt = (size: BucketSize) =>
    units <= size.capacity ? bucket.at + waitFor(bucket, size, bucket.at, units) : Number.POSITIVE_INFINITY
  for (const [slot, held] of inOrder(account.out)) {
    const size = room(account, out)
    const filled = filledAt(size)
    if (filled <= slotEnd(slot)) return filled
    bucket = roll(bucket, size, slotEnd(slot))
    out -= held
  }
  return filledAt(room(account, out))
}
