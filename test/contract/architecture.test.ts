import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { ROOT } from '../support/host.ts'

const read = (file: string) => readFileSync(join(ROOT, file), 'utf8')
const PAGES = ['CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md', 'docs/architecture.md']

/** The lines of the table under a heading, as cells without their backticks. */
function rows(file: string, heading: string): string[][] {
  const section = read(file).split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? ''
  return [...section.matchAll(/^\| `.*$/gm)].map(([row]) =>
    row
      .replaceAll('`', '')
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )
}

test('the page’s table of folders is the one that check-imports.ts holds', () => {
  // An object of lists of names is read by YAML as well.
  const [, table = ''] =
    /const FOLDERS[^=]*= (\{[\s\S]*?\n\})/.exec(read('packages/workshop/src/check-imports.ts')) ?? []
  const directions: Record<string, string[]> = parse(table)
  expect(Object.keys(directions).length).toBeGreaterThan(0)
  const shown = rows('docs/architecture.md', 'Folders').map(([folder = '', imports = '']) => [
    folder,
    imports === 'nothing' ? [] : imports.split(', '),
  ])
  expect(Object.fromEntries(shown)).toEqual(directions)
})

const ORDER = [
  'trace',
  'pinPolicy',
  'authenticate',
  'requestLimits',
  'completions',
  'route',
  'fallback',
  'modelLimits',
  'completionCache',
  'budget',
  'upstream',
]

test('page and picture show the middleware of a request in the order in which it stands', () => {
  const gateway = read('packages/middleware/src/gateway/create-gateway.ts')
  const onion = (from: string, names: readonly string[]) => {
    const text = gateway.slice(gateway.indexOf(from))
    return names.map(
      (name) => [name, text.search(name === 'completionCache' ? /use\(cache\)/ : new RegExp(`\\b${name}\\(`))] as const,
    )
  }
  for (const [from, names] of [
    ['const known =', ['pinPolicy', 'authenticate', 'requestLimits', 'completions']],
    ['const asked =', ['modelLimits', 'completionCache', 'budget', 'upstream']],
    ['const calls =', ['route', 'fallback']],
  ] as const) {
    const positions = onion(from, names).map(([, at]) => at)
    expect(positions).not.toContain(-1)
    expect(positions).toEqual(positions.toSorted((a, b) => a - b))
  }
  expect(rows('docs/architecture.md', 'The middleware of a request').map(([name]) => name)).toEqual(ORDER)
  expect([...read('docs/architecture.svg').matchAll(/class="name"[^>]*>(\w+)</g)].map(([, name]) => name)).toEqual(
    ORDER,
  )
})

test.each(PAGES)('%s names files and links to pages that are there', (page) => {
  const text = read(page).replace(/^```[\s\S]*?^```$/gm, '')
  const links = [...text.matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, link = '']) => join(dirname(page), link))
  const shown = new Set([...read(page).matchAll(/^```ts (\S+?)(?:, added)?$/gm)].map(([, path]) => path))
  const named = [...text.matchAll(/`([\w./-]+\/[\w.-]+\.\w+)`/g)]
    .map(([, path = '']) => path)
    .filter((path) => !shown.has(path))
  const missing = [...links, ...named].filter(
    (path) =>
      !existsSync(join(ROOT, path)) && !existsSync(join(ROOT, 'packages/middleware/src', path)) && !isBuilt(path),
  )
  expect(missing).toEqual([])
})

/** Files that are written by a run, and so may not be there yet. */
function isBuilt(path: string): boolean {
  return path.startsWith('dist/') || path.startsWith('.azurite/')
}

test('the workflows run .ci/run with a token that can only read', () => {
  const folder = '.github/workflows'
  const [file, ...others] = readdirSync(join(ROOT, folder))
  expect(others).toEqual([])
  const { on, permissions, jobs } = parse(read(`${folder}/${file}`))
  expect(on).toEqual({ push: { branches: ['main'] }, pull_request: null })
  expect(permissions).toEqual({ contents: 'read' })
  for (const job of Object.values<Job>(jobs)) {
    expect(job['timeout-minutes']).toBeLessThanOrEqual(15)
    expect(job.permissions).toBeUndefined()
    expect(job.steps.at(-1)?.run).toBe('.ci/run')
    for (const { uses } of job.steps)
      if (uses !== undefined) expect(uses).toMatch(/^actions\/[\w-]+@(?:v\d+|[0-9a-f]{40})$/)
  }
})

interface Job {
  readonly 'timeout-minutes': number
  readonly permissions?: unknown
  readonly steps: readonly { readonly uses?: string; readonly run?: string }[]
}
