/**
 * Units that instances hold under leases, by the second in which their lease ends: so that a row's size does not grow
 * with the number of instances.
 */
export type Slots = Readonly<Record<string, number>>

export const NO_SLOTS: Slots = {}

export const SLOT_MS = 1_000

/** The slot of a lease that ends no sooner than this; store time, milliseconds. */
export function slotFrom(end: number): number {
  return Math.ceil(end / SLOT_MS)
}

/** When a slot ends: store time, milliseconds. */
export function slotEnd(slot: number): number {
  return slot * SLOT_MS
}

export function unitsIn(slots: Slots): number {
  return sumsOf(slots).units
}

interface Sums {
  readonly units: number
  /** Store time, in milliseconds, at which the first of them ends; infinity where there is none. */
  readonly firstEnd: number
}

/** Slots never change, and those of a row that was seen are asked for with each request. */
const known = new WeakMap<Slots, Sums>()

function sumsOf(slots: Slots): Sums {
  let sums = known.get(slots)
  if (sums === undefined) {
    let [units, firstEnd] = [0, Number.POSITIVE_INFINITY]
    for (const slot in slots) {
      units += slots[slot] ?? 0
      firstEnd = Math.min(firstEnd, slotEnd(Number(slot)))
    }
    sums = { units, firstEnd }
    known.set(slots, sums)
  }
  return sums
}

/** With `by` units more, or fewer where it is negative; an empty slot is left out. */
export function change(slots: Slots, slot: number, by: number): Slots {
  const units = (slots[slot] ?? 0) + by
  if (units < 0) throw new RangeError('A slot would hold less than nothing')
  const changed: Record<string, number> = { ...slots, [slot]: units }
  if (units === 0) delete changed[slot]
  return changed
}

/** The slots of two accounts, with what `combine` makes of the units in each. */
export function mergeSlots(a: Slots, b: Slots, combine: (a: number, b: number) => number): Slots {
  const merged: Record<string, number> = {}
  for (const slot of new Set([...Object.keys(a), ...Object.keys(b)])) merged[slot] = combine(a[slot] ?? 0, b[slot] ?? 0)
  return merged
}

/** What two accounts hold under leases. */
export function together(a: Slots, b: Slots): Slots {
  if (unitsIn(b) === 0) return a
  return unitsIn(a) === 0 ? b : mergeSlots(a, b, (one, other) => one + other)
}

/** Slots in the order in which they end. */
export function inOrder(slots: Slots): (readonly [slot: number, units: number])[] {
  const ordered: (readonly [slot: number, units: number])[] = []
  for (const slot in slots) ordered.push([Number(slot), slots[slot] ?? 0])
  return ordered.sort(([a], [b]) => a - b)
}

/** What is left when all that has ended by then is taken out. */
export function unexpired(slots: Slots, now: number): Slots {
  if (sumsOf(slots).firstEnd > now) return slots
  return Object.fromEntries(Object.entries(slots).filter(([each]) => slotEnd(Number(each)) > now))
}

/** The account with these units held beside it; the field is left out for none. */
export function withBeside<T extends { readonly beside?: Slots }>(account: T, beside: Slots): T {
  if (account.beside === undefined && unitsIn(beside) === 0) return account
  const { beside: _, ...rest } = account
  return (unitsIn(beside) === 0 ? rest : { ...rest, beside }) as T
}
