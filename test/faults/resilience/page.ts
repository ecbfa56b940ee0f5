import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../../support/host.ts'
import { type Outcome, SETTINGS, type Seen, type Setting } from './matrix.ts'
import type { Taken } from './played-target.ts'

/* The table of docs/resilience.md. */

const PAGE = join(ROOT, 'docs/resilience.md')
const BEGIN = '<!-- Written by npm run resilience -- --write -->\n'
const END = '\n<!-- end -->'

export function tableOf(seen: readonly Seen[]): string {
  const rows = [
    `| what the target does | | ${SETTINGS.map((setting) => HEADINGS[setting]).join(' | ')} | one target, the next request |`,
    `| --- | --- | ${SETTINGS.map(() => '---').join(' | ')} | --- |`,
  ]
  for (const fault of new Set(seen.map(({ cell }) => cell.fault))) {
    const [plain, stream] = [false, true].map((streamed) => {
      const of = (setting: Setting) =>
        seen.find(({ cell }) => cell.fault === fault && cell.streamed === streamed && cell.setting === setting)
      return [...SETTINGS.map((setting) => requestText(of(setting))), nextText(of('one'))].join(' | ')
    })
    if (plain === stream) rows.push(`| ${fault.name} | | ${plain} |`)
    else rows.push(`| ${fault.name} | plain | ${plain} |`, `| | stream | ${stream} |`)
  }
  return rows.join('\n')
}

const HEADINGS: Readonly<Record<Setting, string>> = {
  one: 'one target',
  'three, the first sick': 'three, the first of them at fault',
  'three, all sick': 'three, all at fault',
}

function requestText(seen: Seen | undefined): string {
  if (seen === undefined) return ''
  const { first } = seen
  return [clientText(first), `${first.attempts.join('+')} ${callsText(first)}`, chargeText(first)].join(', ')
}

function callsText({ attempts }: Outcome): string {
  return attempts.reduce((sum, each) => sum + each, 0) === 1 ? 'call' : 'calls'
}

function clientText({ status, code, retryAfterMs, answer }: Outcome): string {
  if (answer === 'whole') return '**200**'
  if (answer === 'broken') return `**broken** (\`${code}\`)`
  return retryAfterMs === undefined ? `**${status}**` : `**${status}** with a wait`
}

function chargeText({ calls }: Outcome): string {
  const count = (taken: Taken) => calls.flat().filter((each) => each === taken).length
  const [answers, reservations] = [count('told'), count('untold')]
  const parts = [
    ...(answers > 0 ? ['usage'] : []),
    ...(reservations > 0 ? [reservations === 1 ? 'reservation' : `${reservations} reservations`] : []),
  ]
  return parts.length === 0 ? 'free' : parts.join(' + ')
}

/** What became of the target. */
function nextText(seen: Seen | undefined): string {
  if (seen === undefined) return ''
  const { first, next } = seen
  const made = next.attempts.reduce((sum, each) => sum + each, 0)
  if (made === 0) return `**${next.status}** with a wait, no call`
  if (next.retryAfterMs !== undefined && first.retryAfterMs === undefined) return 'its breaker opens'
  return 'asked again'
}

/** The table as the page has it. */
export function tableOnPage(): string {
  const { begin, end, text } = place()
  return text.slice(begin, end)
}

export function writeTable(table: string): void {
  const { begin, end, text } = place()
  writeFileSync(PAGE, text.slice(0, begin) + table + text.slice(end))
}

function place(): { readonly text: string; readonly begin: number; readonly end: number } {
  const text = readFileSync(PAGE, 'utf8')
  const begin = text.indexOf(BEGIN) + BEGIN.length
  const end = text.indexOf(END, begin)
  if (begin < BEGIN.length || end < 0) throw new Error(`docs/resilience.md has no place for the table: ${BEGIN}`)
  return { text, begin, end }
}
