/*
 * `npm run test:clients`: real clients, as they come, over the zip of `npm run package`, unpacked where no node_modules are.
 * It ends with 1, too, where the tables of docs/clients.md show something else than this run has seen; --table writes them
 * instead. --only <file>: the test files with this in their name alone, and no table.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startVitest } from 'vitest/node'
import { commandOptions } from '../../packages/workshop/src/command-options.ts'
import { ROOT } from '../support/host.ts'
import { unpack } from '../support/packaged-app.ts'
import { type Cell, pageWith } from './results.ts'

const CLIENTS = join(ROOT, 'test/clients')
const PAGE = join(ROOT, 'docs/clients.md')

const { table, only } = commandOptions('npm run test:clients', {
  table: { type: 'boolean' },
  only: { type: 'string' },
})

install()
const typed = spawn(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', CLIENTS], {
  stdio: 'inherit',
})
const typesEnd = once(typed, 'exit')
const app = mkdtempSync(join(tmpdir(), 'tollgate-clients-'))
try {
  unpack(readFileSync(join(ROOT, '.package/tollgate.zip')), app)
  process.env.TOLLGATE_TEST_APP = app
  const cells = await test()
  if (only === undefined && !process.exitCode) compare(cells)
  const [status] = await typesEnd
  if (status !== 0) process.exitCode = 1
} finally {
  rmSync(app, { recursive: true, force: true })
}

/** Installs the clients by their own lockfile, unless it has done so already. */
function install(): void {
  const stamp = join(CLIENTS, 'node_modules/.tollgate-installed')
  const wanted = readFileSync(join(CLIENTS, 'package-lock.json'), 'utf8')
  try {
    if (readFileSync(stamp, 'utf8') === wanted) return
  } catch {
    // There is none yet.
  }
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  const { status } = spawnSync('npm', args, { cwd: CLIENTS, stdio: 'inherit' })
  if (status !== 0) throw new Error('npm ci in test/clients failed; its own message stands above.')
  writeFileSync(stamp, wanted)
}

async function test(): Promise<readonly Cell[]> {
  const config = join(CLIENTS, 'vitest.config.ts')
  const vitest = await startVitest('test', only === undefined ? [] : [only], {
    config,
    run: true,
    watch: false,
    reporters: ['dot'],
  })
  const cells = vitest.state
    .getTestModules()
    .flatMap(({ children }) => [...children.allTests()].flatMap((test) => test.meta().cells ?? []))
  await vitest.close()
  return cells
}

function compare(cells: readonly Cell[]): void {
  const page = readFileSync(PAGE, 'utf8')
  const seen = pageWith(page, cells)
  if (seen === page) return
  if (table) {
    writeFileSync(PAGE, seen)
    console.log('docs/clients.md has new tables')
    return
  }
  const said = new Set(page.split('\n'))
  for (const line of seen.split('\n')) if (!said.has(line)) console.error(`+ ${line}`)
  console.error(
    'The clients did something else than docs/clients.md says. To write that: npm run test:clients -- --table',
  )
  process.exitCode = 1
}
