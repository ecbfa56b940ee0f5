import { type Account, hasEnded, isBooked, rebook } from '../accounts/account.ts'
import { mergeAccounts, type Overlap } from '../accounts/merge-accounts.ts'
import { mergeSlots } from '../accounts/slots.ts'
import type { StoreInterval } from '../stores/store-clock.ts'
import { close, type Lease } from './lease.ts'
import { accountIn, keepInFlight } from './lease-write.ts'
import { ANY_ROW, REPLACES_ANY, type Row, type RowVersion } from './row.ts'

/**
 * How a row turned out to be lost: there is none any more (`gone`), it is an older version than was seen (`older`), it
 * was made anew by an instance that had not seen it (`other`), or it lacks a lease that has not ended (`incomplete`).
 */
export type RowLoss = 'gone' | 'older' | 'other' | 'incomplete'

/** Rows before, of which the newest are kept: an instance that has seen an older one has long looked again. */
const MOST_REPLACED = 16

/**
 * Whether the row that is found now fits what was seen of it.
 *
 * @param known the row as it was seen last, before it was asked for now; `undefined` where it never was
 * @param found `undefined` where there is none
 */
export function lossOf(known: Row | undefined, found: Row | undefined): Exclude<RowLoss, 'incomplete'> | undefined {
  if (known === undefined) return undefined
  if (found === undefined) return 'gone'
  // Written by an instance of the release before, which keeps no version.
  if (found.id === undefined) return undefined
  if (found.id === known.id) return found.seq > known.seq || found.nonce === known.nonce ? undefined : 'older'
  if (known.replaces[found.id] !== undefined) return 'older'
  if (ANY_ROW in found.replaces) return undefined
  const contained = known.id === undefined ? undefined : found.replaces[known.id]
  if (contained === undefined) return 'other'
  // Another instance has rebuilt it, from an older version than this one has seen.
  return contained < known.seq ? 'older' : undefined
}

/** The row with all that was seen of it before it was lost. Both are brought forward for the subject's limits. */
export function rebuilt(known: Row, found: Row, loss: Exclude<RowLoss, 'incomplete'>): Row {
  const overlap: Overlap = loss === 'other' && !shareCounts(known, found) ? 'separate' : 'overlapping'
  const accounts: Record<string, Account> = { ...found.accounts }
  for (const key in known.accounts) {
    const [was, is] = [known.accounts[key], found.accounts[key]]
    if (was !== undefined) accounts[key] = is === undefined || loss === 'gone' ? was : mergeAccounts(was, is, overlap)
  }
  return {
    ...found,
    ...versionOf(known, found),
    holders: loss === 'gone' ? known.holders : mergeSlots(known.holders, found.holders, Math.max),
    accounts,
  }
}

/** Whether two rows contain counts of one and the same row. */
function shareCounts(known: Row, found: Row): boolean {
  const ids = new Set(idsIn(found))
  return idsIn(known).some((id) => ids.has(id))
}

function idsIn({ id, replaces }: Row): string[] {
  return [id, ...Object.keys(replaces)].filter((each) => each !== undefined && each !== ANY_ROW) as string[]
}

/** A row that others go on with keeps its id; one that is gone, or was taken back in time, gets another. */
function versionOf(known: Row, found: Row): RowVersion {
  const isKept = found.id !== undefined && found.id !== known.id && known.replaces[found.id] === undefined
  const replaces = new Map<string, number>()
  const add = (id: string | undefined, seq: number) => {
    if (id === undefined || (isKept && id === found.id)) return
    const most = Math.max(seq, replaces.get(id) ?? 0)
    // Put last, as the newest.
    replaces.delete(id)
    replaces.set(id, most)
  }
  for (const row of [found, known]) for (const [id, seq] of Object.entries(row.replaces)) add(id, seq)
  for (const row of [found, known]) add(row.id, row.seq)
  const isAny = replaces.delete(ANY_ROW)
  const newest = Object.fromEntries([...replaces].slice(-MOST_REPLACED))
  return {
    id: isKept ? found.id : undefined,
    seq: isKept ? found.seq : 0,
    replaces: isAny ? { ...newest, ...REPLACES_ANY } : newest,
  }
}

/**
 * Holds the leases against the row. One whose time or window is over is closed. One that the row ought to have and
 * doesn't is booked again, because what it has spent must count; unless the row was reset on purpose, for then what it
 * would give back was never handed out by this row.
 *
 * @param isLost whether the row was lost: then it can't have been reset
 * @returns the row to go on with, and whether it lacked a lease
 */
export function checkLeases(
  leases: Iterable<Lease>,
  row: Row,
  time: StoreInterval,
  isLost: boolean,
): { readonly row: Row; readonly isIncomplete: boolean } {
  const accounts: Record<string, Account> = { ...row.accounts }
  let isIncomplete = false
  for (const lease of leases) {
    const { limit, slot, booked, epoch } = lease
    const account = accountIn(row, lease)
    if (slot === undefined || isBooked(account, slot, booked, epoch)) continue
    if (hasEnded(account, slot, epoch, time)) close(lease)
    // Slots in use are booked again for as long as their requests run, whatever became of the row.
    else if (limit.kind === 'concurrency') keepInFlight(lease)
    else if (!isLost && lease.row !== row.id && ANY_ROW in row.replaces) close(lease)
    else {
      accounts[limit.key] = rebook(account, slot, booked, time)
      isIncomplete = true
    }
  }
  return { row: isIncomplete ? { ...row, accounts } : row, isIncomplete }
}
