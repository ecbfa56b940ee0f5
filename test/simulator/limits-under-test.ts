import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Lease, Limit, Limiter, LimiterOptions, ResetOptions } from '@tollgate/middleware'

/** What starts an instance: the limiter of some copy of the sources. */
export interface LimiterSource {
  limiter(options: LimiterOptions): Limiter
}

/** What instances are started by, in turn: one version of the limiter, or two that are deployed one after the other. */
export type Versions = readonly [LimiterSource, ...LimiterSource[]]

/** The version of the instance with this index. */
export function versionOf(versions: Versions, index: number): LimiterSource {
  return versions[index % versions.length] ?? versions[0]
}

/** The limiter of our sources, and what tells of its rows and leases. */
export interface Limits extends LimiterSource {
  resetLimits(options: ResetOptions): Promise<void>
  /** @throws RangeError that says what does not hold of a lease */
  assertLease(lease: Lease): void
  epochAt(per: 'minute' | 'hour' | 'day' | 'month', now: number): { readonly start: number; readonly end: number }
  /** Units that a row can hand out at that time. */
  freeIn(row: string, limits: readonly Limit[], limit: Limit, time: Interval): number
  /** Units that a row has under leases that have not ended by then; `undefined` where it has no such account. */
  bookedIn(row: string, key: string, now: number): number | undefined
}

interface Interval {
  readonly earliest: number
  readonly latest: number
}

export const MIDDLEWARE = join(import.meta.dirname, '../../packages/middleware/src')

/** @param root the folder of a version's middleware sources */
export async function loadLimiter(root: string): Promise<LimiterSource> {
  return import(pathToFileURL(join(root, 'limits/leases/limiter.ts')).href)
}

/** Loaded when it is asked for, so that a defect can be planted before. */
export async function loadLimits(): Promise<Limits> {
  const load = (file: string) => import(pathToFileURL(join(MIDDLEWARE, 'limits', file)).href)
  const [{ limiter }, { resetLimits }, { assertLease }, rows, accounts, slots, budgets] = await Promise.all([
    load('leases/limiter.ts'),
    load('reset-limits.ts'),
    load('leases/lease.ts'),
    load('leases/row.ts'),
    load('accounts/account.ts'),
    load('accounts/slots.ts'),
    load('accounts/budget.ts'),
  ])
  const parsed = new Map<string, ReturnType<typeof rows.parseRow>>()
  const parse = (text: string) => {
    const known = parsed.get(text)
    if (known !== undefined) return known
    if (parsed.size >= 16) parsed.clear()
    parsed.set(text, rows.parseRow(text))
    return parsed.get(text)
  }
  /** It is asked after each event, and changes when a slot ends. */
  const left = new WeakMap<Readonly<Record<string, number>>, { readonly units: number; readonly until: number }>()
  const unitsAt = (out: Readonly<Record<string, number>>, now: number): number => {
    const known = left.get(out)
    // Of a world whose time only goes forward.
    if (known !== undefined && now < known.until) return known.units
    const unended = slots.unexpired(out, now)
    const until = Math.min(...Object.keys(unended).map((slot) => slots.slotEnd(Number(slot))))
    left.set(out, { units: slots.unitsIn(unended), until })
    return slots.unitsIn(unended)
  }
  return {
    limiter,
    resetLimits,
    assertLease,
    epochAt: budgets.epochAt,
    freeIn(text, limits, limit, time) {
      const row = rows.rollRow(parse(text), limits, time)
      return accounts.free(row.accounts[limit.key], limit, time)
    },
    bookedIn(text, key, now) {
      const account = parse(text).accounts[key]
      if (account === undefined) return undefined
      return account.kind === 'budget' ? slots.unitsIn(account.out) + account.lost : unitsAt(account.out, now)
    },
  }
}
