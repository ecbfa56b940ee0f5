import type { Limit } from '../../policy/index.ts'
import type { Account } from '../accounts/account.ts'
import { assertAccount, repaired } from '../accounts/assert-account.ts'
import { rollAccounts } from '../accounts/siblings.ts'
import { type Slots, unexpired } from '../accounts/slots.ts'
import type { StoreInterval } from '../stores/store-clock.ts'

/**
 * Which version of which row this is, by which an instance that has seen the row knows whether it was lost since. An
 * instance of the release before writes none of it, and reads past it.
 */
export interface RowVersion {
  /** Drawn when the row was made, rebuilt or reset; `undefined` where a release before wrote it. */
  readonly id: string | undefined
  /** Writes since it got its id. */
  readonly seq: number
  /**
   * Rows whose counts this one contains, by id, each up to that number of writes; those that were to be replaced, whatever
   * was seen of them, stand as `ANY_ROW`.
   */
  readonly replaces: Readonly<Record<string, number>>
}

/** In `replaces`: nothing that was seen before this row is to be missed. */
export const ANY_ROW = '*'
export const REPLACES_ANY: RowVersion['replaces'] = { [ANY_ROW]: 0 }

/** A subject's row: all its accounts, so that one write changes all of them or none. */
export interface Row extends RowVersion {
  readonly v: 2
  /** The write that made this version. An instance whose reply was lost knows by it whether its write was applied. */
  readonly nonce: string
  /** How many instances hold a lease, by the slot in which it ends. */
  readonly holders: Slots
  /** By the key of the limit. */
  readonly accounts: Readonly<Record<string, Account>>
}

/** As the release before wrote it, and as it is in JSON: what says nothing is left out. */
type StoredRow = Pick<Row, 'v' | 'nonce' | 'holders' | 'accounts'> & Partial<RowVersion>

/** Version 1 kept buckets of requests alone, by their period. */
interface FirstRow {
  readonly v: 1
  readonly buckets: Readonly<
    Record<string, { level: number; at: number; capacity: number; refill: number; periodMs: number }>
  >
}

export const NO_ROW: Row = { v: 2, id: undefined, seq: 0, replaces: {}, nonce: '', holders: {}, accounts: {} }

/** A row that can't be read: a limit is never guessed. */
export class RowUnreadable extends Error {
  override readonly name = 'RowUnreadable'
}

/** @throws RowUnreadable for a row of a version that this one doesn't know, or of none. */
export function parseRow(text: string | undefined): Row {
  if (text === undefined) return NO_ROW
  const row = parseJson(text)
  if (row.v === 2 && isObject(row.holders) && holdsObjects(row.accounts)) {
    const { id, seq = 0, replaces = {}, nonce, holders } = row
    const accounts = mapValues(row.accounts, repaired)
    return { v: 2, id, seq, replaces: id === undefined ? REPLACES_ANY : replaces, nonce, holders, accounts }
  }
  if (row.v !== 1 || !holdsObjects(row.buckets)) throw new RowUnreadable('A counter row has an unknown form')
  const accounts = Object.entries(row.buckets).map(([periodMs, bucket]) => {
    return [`requests:${periodMs}`, { kind: 'rate', ...bucket, out: {} }] as const
  })
  return { ...NO_ROW, replaces: REPLACES_ANY, accounts: Object.fromEntries(accounts) }
}

/**
 * What must hold of every row that is written.
 *
 * @throws RangeError that names the limit and what does not hold
 */
export function assertRow(row: Pick<Row, 'accounts'>): void {
  for (const [key, account] of Object.entries(row.accounts)) assertAccount(account, key)
}

function parseJson(text: string): StoredRow | FirstRow {
  try {
    const row = JSON.parse(text)
    if (isObject(row)) return row as unknown as StoredRow | FirstRow
  } catch {
    // Told without what the parser says: it quotes the row.
  }
  throw new RowUnreadable('A counter row is no JSON object')
}

function holdsObjects(value: unknown): boolean {
  return isObject(value) && Object.values(value).every(isObject)
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

/**
 * The row with the accounts of these limits, and of other revisions, brought forward.
 *
 * @param isRetired the limits are no longer in force: accounts keep their size
 */
export function rollRow(row: Row, limits: readonly Limit[], time: StoreInterval, isRetired = false): Row {
  const holders = unexpired(row.holders, time.earliest)
  return { ...row, holders, accounts: rollAccounts(row.accounts, limits, time, isRetired) }
}

function mapValues<T>(record: Readonly<Record<string, T>>, map: (value: T) => T): Readonly<Record<string, T>> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]))
}
