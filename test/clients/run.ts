/*
 * `npm run test:clients`: real clients, as they come, over the zip of `npm run package`, unpacked where no node_modules are.
 * It ends with 1, too, where the tables of docs/clients.md show something else than this run has seen; --table writes them
 * instead. With names of test files (`npm run test:clients -- openai`) it runs these alone, and looks at no table.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startVitest } from 'vitest/node'
import { ROOT } from '../support/host.ts'
import { unpack } from '../support/packaged-app.ts'
import { type Cell, pageWith } from './results.ts'

const CLIENTS = join(ROOT, 'test/clients')
const PAGE = join(ROOT, 'docs/clients.md')

const { values, positionals: files } = parseArgs({
  options: { table: { type: 'boolean', default: false } },
  allowPositionals: true,
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
  if (files.length === 0 && !process.exitCode) compare(cells)
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
  const vitest = await startVitest('test', files, { config, run: true, watch: false, reporters: ['dot'] })
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
  if (values.table) {
    writeFileSync(PAGE, seen)
    console.log('docs/clients.md has new tables')
    return
  }
  console.error(
    'The clients did something else than docs/clients.md says. Look at: npm run test:clients -- --table; git diff',
  )
  process.exitCode = 1
}
