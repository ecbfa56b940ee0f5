import type { UsageReport, UsageRow } from '@tollgate/middleware'

/*
 * What a gateway tells of usage, as the ledger has it: what `reportJson` and `rowJson` have written is read again here, times as
 * milliseconds since 1970 and figures by the ledger's own names.
 */

interface SumsJson extends Omit<UsageReport['total'], 'unpriced' | 'uncertain'> {
  readonly costUsd: string
  readonly savedUsd: string
  readonly unpricedCalls: number
  readonly uncertainRequests: number
}

export interface ReportJson {
  readonly by: UsageReport['by']
  readonly since: string
  readonly until: string
  readonly asOf: string
  readonly rows: readonly (SumsJson & { readonly name: string })[]
  readonly total: SumsJson
  readonly unattributed: readonly UnattributedJson[] | null
  readonly unreadable: readonly string[]
}

type Unattributed = NonNullable<UsageReport['unattributed']>[number]

interface UnattributedJson extends Omit<Unattributed, 'windowStart' | 'units'> {
  readonly windowStart: string
  readonly nanoUsd?: number
  readonly tokens?: number
}

export function reportOf({ since, until, asOf, rows, total, unattributed, ...report }: ReportJson): UsageReport {
  return {
    ...report,
    since: Date.parse(since),
    until: Date.parse(until),
    asOf: Date.parse(asOf),
    rows: rows.map(({ name, ...sums }) => ({ name, ...sumsOf(sums) })),
    total: sumsOf(total),
    unattributed: unattributed?.map(({ nanoUsd, tokens, windowStart, ...each }) => ({
      ...each,
      windowStart: Date.parse(windowStart),
      units: nanoUsd ?? tokens ?? 0,
    })),
  }
}

function sumsOf({ unpricedCalls, uncertainRequests, ...sums }: SumsJson): UsageReport['total'] {
  return { ...sums, unpriced: unpricedCalls, uncertain: uncertainRequests }
}

type Attempt = NonNullable<UsageRow['attempts']>[number]
type Left = NonNullable<UsageRow['left']>[number]

export interface RowJson extends Omit<UsageRow, 'startedAt' | 'usage' | 'reserved' | 'attempts' | 'left'> {
  readonly startedAt: string
  readonly tokens?: NonNullable<UsageRow['usage']>
  readonly reserved?: {
    readonly tokens: { readonly input: number; readonly output: number }
    readonly costNanoUsd?: number
  }
  readonly attempts?: readonly (Omit<Attempt, 'usage' | 'price'> & {
    readonly tokens?: NonNullable<Attempt['usage']>
    readonly pricePicoUsd?: object
  })[]
  readonly left?: readonly (Omit<Left, 'measure'> & { readonly counts: string })[]
}

export function rowOf({ startedAt, tokens, reserved, attempts, left, ...row }: RowJson): UsageRow {
  return {
    ...row,
    startedAt: Date.parse(startedAt),
    ...(tokens !== undefined && { usage: tokens }),
    ...(reserved !== undefined && { reserved: reservedOf(reserved) }),
    ...(attempts !== undefined && {
      attempts: attempts.map(({ tokens: usage, pricePicoUsd: price, ...attempt }) => ({
        ...attempt,
        ...(usage !== undefined && { usage }),
        ...(price !== undefined && { price }),
      })),
    }),
    ...(left !== undefined && {
      left: left.map(({ counts, ...each }) => ({ ...each, measure: counts === 'nanoUsd' ? 'money' : counts })),
    }),
  }
}

function reservedOf({ tokens, costNanoUsd }: NonNullable<RowJson['reserved']>): NonNullable<UsageRow['reserved']> {
  return { ...tokens, ...(costNanoUsd !== undefined && { costNanoUsd }) }
}
