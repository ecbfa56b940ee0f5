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

/** @throws if the row was written by a version that this one can't read: a limit is never guessed. */
export function parseRow(text: string | undefined): Row {
  const row: Row | FirstRow = text === undefined ? { v: 2, nonce: '', holders: {}, accounts: {} } : JSON.parse(text)
  if (row.v === 2) return row
  if (row.v !== 1) throw new Error('A counter row has an unknown version')
  const accounts = Object.entries(row.buckets).map(([periodMs, bucket]) => {
    return [`requests:${periodMs}`, { kind: 'rate', ...bucket, out: {} }] as const
  })
  return { v: 2, nonce: '', holders: {}, accounts: Object.fromEntries(accounts) }
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
