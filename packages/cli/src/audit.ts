import { listAudit, type ManageOutput } from '@tollgate/middleware'
import { columns } from './columns.ts'
import { CommandFault } from './command-fault.ts'
import { utc } from './figures.ts'
import { managing } from './managing.ts'
import type { Place } from './place.ts'
import { onOneLine } from './printable.ts'

export interface AuditOptions {
  readonly since?: string
  readonly until?: string
  readonly limit?: string
  readonly cursor?: string
  readonly json?: boolean
}

/** Who changed what, the newest first. */
export async function showAudit({ json, limit, ...asked }: AuditOptions, place: Place): Promise<string> {
  if (limit !== undefined && !/^\d+$/.test(limit))
    throw new CommandFault(`--limit: '${limit}' is no number such as 100.`)
  const { output, storage } = await managing(
    listAudit,
    { ...asked, ...(limit !== undefined && { limit: Number(limit) }) },
    place,
  )
  if (json) return JSON.stringify(output)
  const { changes, next } = output
  const source = `Storage: ${storage}`
  if (changes.length === 0) return `Nothing was changed.\n\n${source}`
  const table = columns([
    ['WHEN', 'WHO', 'WHAT', 'OF', 'WITH', 'CAME TO'],
    ...changes.map((each) => [
      utc(Date.parse(each.at)),
      onOneLine(each.actor),
      onOneLine(each.action),
      onOneLine(each.subject),
      onOneLine(inputText(each)),
      each.code === undefined ? each.outcome : `${each.outcome} (${onOneLine(each.code)})`,
    ]),
  ])
  const more = next === undefined ? [] : [`There is more: audit --cursor ${next}`]
  return [table, ...more, source].join('\n\n')
}

const LONGEST = 100

function inputText({ input }: ManageOutput<typeof listAudit>['changes'][number]): string {
  const text = JSON.stringify(input) ?? ''
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text
}
