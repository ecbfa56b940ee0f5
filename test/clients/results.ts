import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'vitest'
import { ROOT } from '../support/host.ts'

/** What a test has seen of a client: a cell of the tables in docs/clients.md. */
export interface Cell {
  readonly client: string
  readonly packages: readonly string[]
  readonly column: Column
  readonly value: string
}

/** What the page has tables of, by the headings that they stand under; the columns in their order. */
const TABLES = {
  'What works': [
    'answer',
    'stream',
    'cache hit',
    'tools',
    'parsed answer',
    'embeddings',
    'broken stream raises',
    'abort reaches the model',
  ],
  'Requests that arrive for one refusal': [
    '400',
    '401',
    '403',
    '404',
    '413',
    '415',
    '422',
    '451',
    '429, wait over 60 s',
    'spent budget',
    '429, short wait',
  ],
} as const

export type Column = (typeof TABLES)[keyof typeof TABLES][number]

declare module 'vitest' {
  interface TaskMeta {
    cells?: Cell[]
  }
}

/** Of a test that fails nothing is shown. */
export function show({ task }: Pick<TestContext, 'task'>, cell: Cell): void {
  task.meta.cells = [cell]
}

/** The page with the tables of what was seen, each between the comments that say where it stands. */
export function pageWith(page: string, cells: readonly Cell[]): string {
  return Object.entries(TABLES).reduce((text, [heading, columns]) => {
    const [begin, end] = [`<!-- ${heading}, written by npm run test:clients -- --table -->\n`, '\n<!-- end -->']
    const from = text.indexOf(begin)
    const to = text.indexOf(end, from)
    if (from === -1 || to === -1) throw new Error(`docs/clients.md has no place for the table '${heading}'`)
    return text.slice(0, from + begin.length) + tableOf(columns, cells) + text.slice(to)
  }, page)
}

function tableOf(columns: readonly Column[], cells: readonly Cell[]): string {
  // A client without a package of ours is not on every machine, and so in no table.
  const shown = cells.filter(({ packages }) => packages.length > 0)
  const clients = new Map(shown.map(({ client, packages }) => [`${packagesText(packages)}: ${client}`, client]))
  const rows = [...clients]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, client]) => [
      name,
      ...columns.map((column) => shown.find((cell) => cell.client === client && cell.column === column)?.value ?? '–'),
    ])
  return [['', ...columns], ['---', ...columns.map(() => '---')], ...rows]
    .map((row) => `| ${row.join(' | ')} |`)
    .join('\n')
}

function packagesText(packages: readonly string[]): string {
  return packages.map((name) => `${name} ${versionOf(name)}`).join(' with ')
}

function versionOf(name: string): string {
  const { version } = JSON.parse(
    readFileSync(join(ROOT, 'test/clients/node_modules', name, 'package.json'), 'utf8'),
  ) as { readonly version: string }
  return version
}
