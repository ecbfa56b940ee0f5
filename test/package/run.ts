/*
 * `npm run test:package`: the tests that go through a Function app, against the zip of `npm run package`, unpacked where no
 * node_modules are; then the contract once more under Node 22, and what concerns the Nodes themselves. --brief: the last two
 * alone, which is what CI runs after `npm test`; there the real clients go through the zip under this Node.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ROOT } from '../support/host.ts'
import { unpack } from '../support/packaged-app.ts'
import { installOtherNodes, type OtherNode, otherNode } from './other-nodes.ts'

/** What has nothing to do with the app that is deployed, and why. */
const LEFT_OUT: Readonly<Record<string, string>> = {
  'test/contract/architecture.test.ts': 'reads the sources',
  'test/contract/configuration.test.ts': 'reads settings by the sources',
  'test/contract/contributing.test.ts': 'builds an app of its own',
  'test/contract/cost.test.ts': 'reckons',
  'test/contract/deploy.test.ts': 'reads the documentation',
  'test/contract/docs.test.ts': 'reads the documentation',
  'test/contract/folder-circles.test.ts': 'looks at the sources’ imports',
  'test/contract/time-limits.test.ts': 'reads settings by the sources',
  'test/e2e/command-options.test.ts': 'is about the repository’s own commands',
  'test/e2e/http-adapter.test.ts': 'serves an app of its own',
  'test/e2e/install.test.ts': 'installs the checkout',
  'test/e2e/local-host.test.ts': 'serves an app of its own',
  'test/e2e/package.test.ts': 'unpacks the zip by itself',
  'test/e2e/portable.test.ts': 'serves without a Function app',
  'test/e2e/proxy.test.ts': 'is about npm start, which serves the checkout',
  'test/e2e/simulated-model.test.ts': 'asks the simulated model alone',
  'test/e2e/start.test.ts': 'is about npm start, which serves the checkout',
}

const { values } = parseArgs({ options: { brief: { type: 'boolean', default: false } } })
const CONTRACT = testsIn('test/contract')
const app = mkdtempSync(join(tmpdir(), 'tollgate-package-'))
const results: string[] = []
try {
  unpack(readFileSync(join(ROOT, '.package/tollgate.zip')), app)
  installOtherNodes()
  // The refusal by an older Node, and what only the oldest lacks.
  run('the Nodes', ['test/package/nodes.test.ts'])
  if (!values.brief)
    run(`Node ${process.versions.node}`, [...CONTRACT, ...testsIn('test/e2e'), ...testsIn('test/faults')])
  runUnder('22', CONTRACT)
  runUnder('22.0', ['test/contract/generate.test.ts', 'test/contract/limits.test.ts'])
} finally {
  rmSync(app, { recursive: true, force: true })
  for (const result of results) console.log(result)
}

/** But for those left out. */
function testsIn(folder: string): string[] {
  return readdirSync(join(ROOT, folder))
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => `${folder}/${name}`)
    .filter((file) => LEFT_OUT[file] === undefined)
}

function runUnder(version: OtherNode, files: readonly string[]): void {
  const node = otherNode(version)
  if ('missing' in node) results.push(`SKIPPED under Node ${version}: ${node.missing}`)
  else run(`Node ${version} from npm`, files, { TOLLGATE_TEST_NODE: node.path })
}

function run(what: string, files: readonly string[], env: Record<string, string> = {}): void {
  const started = performance.now()
  const { status } = spawnSync(
    process.execPath,
    [join(ROOT, 'node_modules/vitest/vitest.mjs'), 'run', '--config', 'test/vitest.config.ts', ...files],
    { cwd: ROOT, env: { ...process.env, TOLLGATE_TEST_APP: app, ...env }, stdio: 'inherit' },
  )
  const seconds = Math.round((performance.now() - started) / 1_000)
  if (status === 0) results.push(`passed: ${what}, ${seconds} s`)
  else {
    process.exitCode = status ?? 1
    results.push(`FAILED: ${what}, ${seconds} s`)
  }
}
