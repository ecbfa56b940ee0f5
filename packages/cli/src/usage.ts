import {
  isUsageFault,
  reportCsv,
  reportJson,
  type ShadowReport,
  type ShadowSums,
  shadowCsv,
  shadowJson,
  type Unattributed,
  type UsageFault,
  type UsageReader,
  type UsageReport,
  type UsageSums,
  usageQuery,
} from '@tollgate/middleware'
import { columns } from './columns.ts'
import { CommandFault } from './command-fault.ts'
import { count, dollars, exactDollars, utc } from './figures.ts'
import { withUsage } from './ledger.ts'
import { gatewayOf, jsonOf, type ManagedGateway, readingByUrl } from './manage-client.ts'
import type { Place } from './place.ts'
import { onOneLine } from './printable.ts'
import { type ReportJson, reportOf } from './usage-by-url.ts'

export interface UsageOptions {
  readonly by?: string
  readonly since?: string
  readonly until?: string
  readonly consumer?: string
  readonly model?: string
  readonly json?: boolean
  readonly csv?: boolean
  readonly shadow?: boolean
}

const TIMEOUT_MS = 120_000

/** What requests came to, by consumer, model or target. */
export async function showUsage(options: UsageOptions, place: Place): Promise<string> {
  const { json, csv, shadow, ...asked } = options
  if (json && csv) throw new CommandFault('--json and --csv exclude each other.')
  const query = usageQuery(asked, Date.now())
  if (isUsageFault(query)) throw optionFault(query)
  const gateway = gatewayOf(place)
  if (gateway !== undefined) return usageByUrl(options, gateway)
  if (shadow) {
    const { by } = query
    if (by === 'target') throw new CommandFault('--by must be consumer or model with --shadow.')
    return showShadow({ ...query, by }, options, place)
  }
  const [report, storage] = await withUsage(place, async (reader, where) => [
    await reader.report(query, AbortSignal.timeout(TIMEOUT_MS)),
    where,
  ])
  if (json) return JSON.stringify(reportJson(report))
  // The line ends of a terminal: the command's output ends with one.
  if (csv) return reportCsv(report).replaceAll('\r\n', '\n').trimEnd()
  return usageText(report, `Storage: ${storage}`)
}

async function usageByUrl({ json, csv, ...asked }: UsageOptions, gateway: ManagedGateway): Promise<string> {
  const text = await readingByUrl(gateway, '/usage', csv ? { ...asked, format: 'csv' } : { ...asked })
  if (csv) return text.replaceAll('\r\n', '\n').trimEnd()
  const report = jsonOf(text, gateway)
  return json ? JSON.stringify(report) : usageText(reportOf(report as ReportJson), `Gateway: ${gateway.url}`)
}

async function showShadow(
  query: Parameters<UsageReader['shadow']>[0],
  { json, csv }: UsageOptions,
  place: Place,
): Promise<string> {
  const [report, storage] = await withUsage(place, async (reader, where) => [
    await reader.shadow(query, AbortSignal.timeout(TIMEOUT_MS)),
    where,
  ])
  if (json) return JSON.stringify(shadowJson(report))
  if (csv) return shadowCsv(report).replaceAll('\r\n', '\n').trimEnd()
  return shadowText(report, `Storage: ${storage}`)
}

/** What a shadow revision would have refused, for people: of whom, and why. @param source where it is from */
export function shadowText(report: ShadowReport, source: string): string {
  const { by, rows, total, since, until, asOf, unreadable } = report
  const span = `From ${utc(since)} to ${utc(until)}${asOf < until ? `, as of ${utc(asOf)}` : ''}.`
  const line = (name: string, { judged, wouldRefuse, unknown }: ShadowSums) => [
    name,
    ...[judged, wouldRefuse, unknown].map(count),
  ]
  const table = columns(
    [
      [by.toUpperCase(), 'JUDGED', 'WOULD REFUSE', 'UNKNOWN'],
      ...rows.map(({ name, ...sums }) => line(name === '' ? UNNAMED[by] : onOneLine(name), sums)),
      line('total', total),
    ],
    1,
  )
  const reasons = total.refusals.map(({ code, limit = '–', requests }) => [
    onOneLine(code),
    onOneLine(limit),
    count(requests),
  ])
  return [
    rows.length === 0 ? NOT_JUDGED : table,
    ...(reasons.length === 0 ? [] : [columns([['WOULD REFUSE WITH', 'LIMIT', 'REQUESTS'], ...reasons], 2)]),
    span,
    ...unreadableText(unreadable),
    source,
  ].join('\n\n')
}

const NOT_JUDGED = 'No request was judged by a shadow revision. One is put beside the policy by: policy apply --shadow'

export function optionFault({ parameter, rule }: UsageFault): CommandFault {
  return new CommandFault(`--${parameter} ${rule.replace(/'(since|until)'/g, '--$1')}.`)
}

/** A report for people. @param source where it is from */
export function usageText(report: UsageReport, source: string): string {
  const { rows, since, until, asOf, unattributed, unreadable } = report
  const span = `From ${utc(since)} to ${utc(until)}${asOf < until ? `, as of ${utc(asOf)}` : ''}.`
  const table = rows.length === 0 ? 'No requests. What has just ended may take 10 seconds to be here.' : tableOf(report)
  return [
    table,
    [span, ...notes(report)].join('\n'),
    ...unattributedText(unattributed),
    ...unreadableText(unreadable),
    source,
  ].join('\n\n')
}

interface Column {
  readonly title: string
  readonly cell: (sums: UsageSums) => string
}

const REQUESTS: readonly Column[] = [
  { title: 'REQUESTS', cell: ({ requests }) => count(requests) },
  { title: 'HITS', cell: ({ hits }) => count(hits) },
  { title: 'COLLAPSED', cell: ({ collapsed }) => count(collapsed) },
  { title: 'REFUSED', cell: ({ refused }) => count(refused) },
]
/** A target is only called: what was answered or refused before that is no target's. */
const CALLS: readonly Column[] = [{ title: 'CALLS', cell: ({ requests }) => count(requests) }]
const TAKEN: readonly Column[] = [
  { title: 'FAILED', cell: ({ failed }) => count(failed) },
  { title: 'INPUT', cell: ({ tokens }) => count(tokens.input) },
  { title: 'OUTPUT', cell: ({ tokens }) => count(tokens.output) },
  { title: 'COST', cell: ({ costNanoUsd, unpriced }) => moneyCell(costNanoUsd, unpriced) },
]
const SAVED: Column = { title: 'SAVED', cell: savedCell }

function tableOf({ by, rows, total }: UsageReport): string {
  const shown = by === 'target' ? [...CALLS, ...TAKEN] : [...REQUESTS, ...TAKEN, SAVED]
  const line = (name: string, sums: UsageSums) => [name, ...shown.map(({ cell }) => cell(sums))]
  return columns(
    [
      [by.toUpperCase(), ...shown.map(({ title }) => title)],
      ...rows.map(({ name, ...sums }) => line(name === '' ? UNNAMED[by] : onOneLine(name), sums)),
      line('total', total),
    ],
    1,
  )
}

const UNNAMED = { consumer: '(no valid key)', model: '(no model)', target: '(no target)' } as const

/** What is not known is no $0. */
function moneyCell(nanoUsd: number, unpriced: number): string {
  return nanoUsd === 0 && unpriced > 0 ? '–' : dollars(nanoUsd)
}

/** What hits of a model without a price saved is not known either. */
function savedCell({ savedNanoUsd, hits, collapsed, costNanoUsd, unpriced }: UsageSums): string {
  return hits + collapsed > 0 && costNanoUsd === 0 ? moneyCell(savedNanoUsd, unpriced) : dollars(savedNanoUsd)
}

function notes({ total: { unpriced, uncertain } }: UsageReport): string[] {
  return [
    ...(unpriced === 0
      ? []
      : [
          `${count(unpriced)} ${unpriced === 1 ? 'call' : 'calls'} had no price when made, and so no cost here. ` +
            'Which models have none now: npm run tollgate -- prices',
        ]),
    ...(uncertain === 0
      ? []
      : [
          `${count(uncertain)} ${uncertain === 1 ? 'request counts' : 'requests count'} with all that was reserved, ` +
            'since the model did not tell what it generated.',
        ]),
  ]
}

function unattributedText(unattributed: readonly Unattributed[] | undefined): string[] {
  if (unattributed === undefined) return [UNKNOWN]
  if (unattributed.length === 0) return []
  const lines = unattributed.map(({ subject, limit, measure, windowStart, units }) => {
    const amount = measure === 'money' ? exactDollars(units) : `${count(units)} ${UNITS[measure]}`
    return `  ${onOneLine(subject)}: ${amount} of limit '${onOneLine(limit)}' since ${utc(windowStart)}`
  })
  return [['Unattributed: charged to these limits, and in no row above.', ...lines].join('\n')]
}

/** Places that are named; a report in JSON names all. */
const MOST_PLACES = 10

function unreadableText(places: readonly string[]): string[] {
  if (places.length === 0) return []
  const rows = places.length === 1 ? '1 row' : `${count(places.length)} rows`
  const named = places.slice(0, MOST_PLACES).map((place) => `  ${onOneLine(place)}`)
  const more = places.length > MOST_PLACES ? ['  …'] : []
  return [
    [`${rows} of the ledger could not be read, and what only they hold is in no figure:`, ...named, ...more].join('\n'),
  ]
}

const UNKNOWN =
  "Unattributed: not known here, since Redis doesn't say when counters changed last. Ask a gateway: GET /api/usage."

const UNITS = { tokens: 'tokens', input: 'input tokens', output: 'output tokens' } as const
