import type { LogLine } from '../support/log-lines.ts'

/* Queries of the log in KQL, against lines that requests leave. */

const CONTAINS = /\bMessage contains '([^']+)'/g
const FIELD = /\bline\.(\w+(?:\.\w+)*)/g
/** What an event is compared with, once or in a list. */
const EVENTS = /\bevent\)? (?:==|!=|!?in) (\([^)]*\)|"[^"]*"|'[^']*')/g
const TEXT = /"([^"]*)"|'([^']*)'/g

/** The events that a query compares with. */
export function eventsIn(query: string): string[] {
  return [...query.matchAll(EVENTS)].flatMap(([, compared = '']) =>
    [...compared.matchAll(TEXT)].map(([, a, b]) => a ?? b ?? ''),
  )
}

/** Texts that no line holds, and fields that none of the lines has that hold them. */
export function queryFaults(query: string, lines: readonly LogLine[]): string[] {
  const texts = [...query.matchAll(CONTAINS)].map(([, text = '']) => text)
  const found = lines.filter((line) => texts.every((text) => JSON.stringify(line).includes(text)))
  if (texts.length === 0) return ['looks for no text']
  if (found.length === 0) return [`no line contains ${texts.join(' and ')}`]
  const fields = [...query.matchAll(FIELD)].map(([, path = '']) => path)
  return fields.filter((path) => !found.some((line) => has(line, path))).map((path) => `no line has ${path}`)
}

function has(line: LogLine, path: string): boolean {
  let value: unknown = line
  for (const name of path.split('.')) value = (value as Record<string, unknown> | undefined)?.[name]
  return value !== undefined
}
