import { dollarsText, type TokenUsage } from '../pipeline/index.ts'
import type {
  ShadowReport,
  ShadowSums,
  Unattributed,
  UsageAttempt,
  UsageReport,
  UsageRow,
  UsageSums,
} from './figures.ts'
import { refusalIn } from './shadow-sums.ts'

/*
 * The ledger's figures for programs, over HTTP and from the command alike: times as ISO 8601 in UTC, money as whole nano-dollars
 * and, for people, as US dollars in decimals. A figure's unit stands in its name.
 */

export function reportJson({ by, since, until, asOf, rows, total, unattributed, unreadable }: UsageReport): object {
  return {
    by,
    since: isoTime(since),
    until: isoTime(until),
    asOf: isoTime(asOf),
    rows: rows.map(({ name, ...sums }) => ({ name, ...sumsJson(sums) })),
    total: sumsJson(total),
    unattributed: unattributed?.map(unattributedJson) ?? null,
    unreadable,
  }
}

export function sumsJson(sums: UsageSums) {
  const { requests, answered, hits, collapsed, refused, failed, tokens } = sums
  const { costNanoUsd, savedNanoUsd, unpriced, uncertain } = sums
  return {
    requests,
    answered,
    hits,
    collapsed,
    refused,
    failed,
    tokens: { ...tokens },
    costNanoUsd,
    costUsd: dollarsText(costNanoUsd),
    savedNanoUsd,
    savedUsd: dollarsText(savedNanoUsd),
    unpricedCalls: unpriced,
    uncertainRequests: uncertain,
  }
}

/** What a shadow revision would have refused. */
export function shadowJson({ by, since, until, asOf, rows, total, unreadable }: ShadowReport): object {
  return {
    shadow: true,
    by,
    since: isoTime(since),
    until: isoTime(until),
    asOf: isoTime(asOf),
    rows: rows.map(({ name, ...sums }) => ({ name, ...judgedJson(sums) })),
    total: judgedJson(total),
    unreadable,
  }
}

function judgedJson({ judged, wouldRefuse, unknown, refusals }: ShadowSums): object {
  return { judged, would_refuse: wouldRefuse, unknown, refusals }
}

export function unattributedJson({ subject, limit, measure, windowStart, units }: Unattributed) {
  const amount = measure === 'money' ? { nanoUsd: units, usd: dollarsText(units) } : { tokens: units }
  return { subject, limit, measure, windowStart: isoTime(windowStart), ...amount }
}

/** One request's end. Its fields are those of the row, but for times and units. */
export function rowJson(row: UsageRow): object {
  const { id, requestId, startedAt, usage, reserved, costNanoUsd, savedNanoUsd, attempts, left, ...told } = row
  const { wouldRefuse, ...others } = told
  return {
    id,
    requestId,
    startedAt: isoTime(startedAt),
    ...others,
    ...(wouldRefuse === undefined ? {} : { would_refuse: refusalIn(wouldRefuse) }),
    ...tokensJson(usage),
    ...(reserved === undefined ? {} : { reserved: reservedJson(reserved) }),
    ...money('cost', costNanoUsd),
    ...money('saved', savedNanoUsd),
    ...(attempts === undefined ? {} : { attempts: attempts.map(attemptJson) }),
    ...(left === undefined ? {} : { left: left.map(leftJson) }),
  }
}

function attemptJson({ usage, costNanoUsd, price, ...attempt }: UsageAttempt): object {
  return {
    ...attempt,
    ...tokensJson(usage),
    ...money('cost', costNanoUsd),
    ...(price === undefined ? {} : { pricePicoUsd: price }),
  }
}

function reservedJson({ input, output, costNanoUsd }: UsageRow['reserved'] & object): object {
  return { tokens: { input, output }, ...money('cost', costNanoUsd) }
}

function leftJson({ limit, measure, of, most, left }: (UsageRow['left'] & object)[number]): object {
  return { limit, counts: measure === 'money' ? 'nanoUsd' : measure, of, ...(most !== undefined && { most }), left }
}

function tokensJson(tokens: TokenUsage | undefined): object {
  return tokens === undefined ? {} : { tokens }
}

function money(what: string, nanoUsd: number | undefined): object {
  return nanoUsd === undefined ? {} : { [`${what}NanoUsd`]: nanoUsd, [`${what}Usd`]: dollarsText(nanoUsd) }
}

function isoTime(at: number): string {
  return new Date(at).toISOString()
}
