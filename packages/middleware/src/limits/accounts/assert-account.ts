import { type Account, leasedIn } from './account.ts'
import { NO_SLOTS, type Slots, unitsIn, withBeside } from './slots.ts'

/**
 * What must hold of every account that is written. A row from outside (restored by hand, or written by a version with a
 * defect) is repaired when it is read; our own code never writes one that fails.
 *
 * @throws RangeError that names the limit and what does not hold
 */
export function assertAccount(account: Account, key: string): void {
  const fault = faultOf(account)
  if (fault !== undefined) throw new RangeError(`The account of '${key}' ${fault}`)
}

function faultOf(account: Account): string | undefined {
  for (const slot in account.out) if (!isCount(account.out[slot])) return `leases ${account.out[slot]} in slot ${slot}`
  const beside = account.kind === 'concurrency' ? undefined : account.beside
  for (const slot in beside) if (!isCount(beside[slot])) return `books ${beside[slot]} beside it in slot ${slot}`
  const out = leasedIn(account)
  switch (account.kind) {
    case 'rate': {
      const { level, owed = 0, capacity, periodMs } = account
      if (!isCount(level)) return `has a level of ${level}`
      if (!isCount(owed) || (owed > 0 && level > 0)) return `owes ${owed} at a level of ${level}`
      // A policy that makes a bucket smaller finds more leased than the new one holds: then nothing is left to hand out.
      return level > 0 && level + out * periodMs > capacity * periodMs
        ? `holds ${level / periodMs} and leases ${out} of ${capacity}`
        : undefined
    }
    case 'budget': {
      const { granted, lost } = account
      if (!isCount(granted) || !isCount(lost)) return `has granted ${granted} and lost ${lost}`
      return lost + out > granted ? `leases ${out} and lost ${lost}, but granted only ${granted}` : undefined
    }
    case 'concurrency':
      return undefined
  }
}

function isCount(value: number | undefined): boolean {
  return Number.isSafeInteger(value) && (value ?? -1) >= 0
}

/** The account itself where it is sound, else the nearest sound one that hands out no more than it. */
export function repaired(account: Account): Account {
  if (faultOf(account) === undefined) return account
  const out = soundSlots(account.out)
  if (account.kind === 'concurrency') return { ...account, out }
  const beside = soundSlots(account.beside)
  const leased = unitsIn(out) + unitsIn(beside)
  switch (account.kind) {
    case 'rate': {
      const { owed: _, ...sound } = withBeside(account, beside)
      const { level, capacity, periodMs } = sound
      return { ...sound, out, level: Math.min(count(level), Math.max(0, capacity - leased) * periodMs) }
    }
    case 'budget': {
      const lost = count(account.lost)
      return { ...withBeside(account, beside), out, lost, granted: Math.max(count(account.granted), lost + leased) }
    }
  }
}

function soundSlots(slots: Slots = NO_SLOTS): Slots {
  return Object.fromEntries(Object.entries(slots).filter(([, units]) => isCount(units) && units > 0))
}

function count(value: number): number {
  return Number.isFinite(value) ? Math.min(Number.MAX_SAFE_INTEGER, Math.max(0, Math.floor(value))) : 0
}
