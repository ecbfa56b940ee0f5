import { isUsageFault, rowJson, type UsageRow, UsageUnreadable, whyQuery } from '@tollgate/middleware'
import { columns } from './columns.ts'
import { CommandFault } from './command-fault.ts'
import { utc } from './figures.ts'
import { withRequests } from './ledger.ts'
import { gatewayOf, jsonOf, readingByUrl } from './manage-client.ts'
import type { Place } from './place.ts'
import { onOneLine } from './printable.ts'
import { requestStory } from './request-story.ts'
import { optionFault } from './usage.ts'
import { type RowJson, rowOf } from './usage-by-url.ts'

export interface WhyOptions {
  readonly since?: string
  readonly until?: string
  readonly json?: boolean
}

const TIMEOUT_MS = 120_000

/** The stories of all requests that had this id, the newest first. @throws CommandFault where there is none */
export async function showWhy(requestId: string, { json, ...asked }: WhyOptions, place: Place): Promise<string> {
  const query = whyQuery(asked, Date.now())
  if (isUsageFault(query)) throw optionFault(query)
  const gateway = gatewayOf(place)
  if (gateway !== undefined) {
    const text = await readingByUrl(gateway, `/usage/requests/${encodeURIComponent(requestId)}`, { ...asked })
    const { requests } = jsonOf(text, gateway) as { readonly requests: readonly RowJson[] }
    return json ? JSON.stringify(requests) : storyText(requestId, requests.map(rowOf), query)
  }
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  const rows = await withRequests(place, (reader) => reader.why(requestId, query, signal)).catch((error) => {
    throw error instanceof UsageUnreadable ? new CommandFault(error.message) : error
  })
  return json ? JSON.stringify(rows.map(rowJson)) : storyText(requestId, rows, query)
}

function storyText(
  requestId: string,
  rows: readonly UsageRow[],
  query: { readonly since: number; readonly until: number },
): string {
  const [first] = rows
  if (first === undefined) {
    throw new CommandFault(
      `No request '${onOneLine(requestId)}' came from ${utc(query.since)} to ${utc(query.until)}. Its id is what the answer's ` +
        'X-Request-ID says. Look further back with --since 30d; what has just ended may take 10 seconds to be here.',
    )
  }
  return [...severalText(rows), ...rows.map(requestStory)].join(`\n\n${'-'.repeat(80)}\n\n`)
}

/** Which of them is meant, only who asked can tell. */
function severalText(rows: readonly UsageRow[]): string[] {
  const requests = rows.filter(({ call }) => call === 0)
  if (requests.length < 2) return []
  const table = columns([
    ['CAME', 'CONSUMER', 'STATUS', 'MODEL'],
    ...requests.map(({ startedAt, consumer = '', status, refusal, model = '' }) => [
      utc(startedAt),
      onOneLine(consumer),
      refusal === undefined ? String(status) : `${status} ${onOneLine(refusal)}`,
      onOneLine(model),
    ]),
  ])
  return [
    `${requests.length} requests have this id, since a caller may choose it. The newest is the first.\n\n${table}`,
  ]
}
