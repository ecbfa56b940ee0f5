import type { Limit } from '../../policy/index.ts'
import { type Account, accountOf, isVoid, rollAccount } from '../accounts/account.ts'
import { type Slots, unexpired } from '../accounts/slots.ts'
import type { StoreInterval } from './clock.ts'

/** A subject's row: all its accounts, so that one write changes all of them or none. */
export interface Row {
  readonly v: 2
  /** The write that made this version. An instance whose reply was lost knows by it whether its write was applied. */
  readonly nonce: string
  /** How many instances hold a lease, by the slot in which it ends. */
  readonly holders: Slots
  /** By the key of the limit. */
  readonly accounts: Readonly<Record<string, Account>>
}

/** Version 1 kept buckets of requests alone, by their period. */
interface FirstRow {
  readonly v: 1
  readonly buckets: Readonly<
    Record<string, { level: number; at: number; capacity: number; refill: number; periodMs: number }>
  >
}

/** A row that can't be read: a limit is never guessed. */
export class RowUnreadable extends Error {
  override readonly name = 'RowUnreadable'
}

/** @throws RowUnreadable for a row of a version that this one doesn't know, or of none. */
export function parseRow(text: string | undefined): Row {
  const row: Row | FirstRow = text === undefined ? { v: 2, nonce: '', holders: {}, accounts: {} } : parseJson(text)
  if (row.v === 2 && isObject(row.holders) && holdsObjects(row.accounts)) return row
  if (row.v !== 1 || !holdsObjects(row.buckets)) throw new RowUnreadable('A counter row has an unknown form')
  const accounts = Object.entries(row.buckets).map(([periodMs, bucket]) => {
    return [`requests:${periodMs}`, { kind: 'rate', ...bucket, out: {} }] as const
  })
  return { v: 2, nonce: '', holders: {}, accounts: Object.fromEntries(accounts) }
}

function parseJson(text: string): Row | FirstRow {
  try {
    const row = JSON.parse(text)
    if (isObject(row)) return row as unknown as Row | FirstRow
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
 * The row with the accounts of these limits, brought forward. Accounts that these limits don't know are kept for as
 * long as they say anything: an instance with an older or newer policy must not reset what another one counts.
 */
export function rollRow(row: Row, limits: readonly Limit[], time: StoreInterval): Row {
  const accounts: Record<string, Account> = {}
  for (const key in row.accounts) {
    const stored = row.accounts[key]
    if (stored === undefined || limits.some((limit) => limit.key === key)) continue
    const foreign = rollAccount(stored, time)
    if (!isVoid(foreign, time)) accounts[key] = foreign
  }
  for (const limit of limits) accounts[limit.key] = accountOf(row.accounts[limit.key], limit, time)
  return { v: 2, nonce: row.nonce, holders: unexpired(row.holders, time.earliest), accounts }
}
