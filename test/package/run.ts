/*
 * `npm run test:package`: the tests that go through a Function app, against the zip of `npm run package`, unpacked where no
 * node_modules are. --brief: those of the contract alone, which is what CI runs after `npm test`.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ROOT } from '../support/host.ts'
import { unpack } from '../support/packaged-app.ts'

/** What has nothing to do with the app that is deployed, and why. */
const LEFT_OUT: Readonly<Record<string, string>> = {
  'test/contract/architecture.test.ts': 'reads the sources',
  'test/contract/contributing.test.ts': 'builds an app of its own',
  'test/contract/cost.test.ts': 'reckons',
  'test/contract/deploy.test.ts': 'reads the documentation',
  'test/contract/docs.test.ts': 'reads the documentation',
  'test/e2e/http-adapter.test.ts': 'serves an app of its own',
  'test/e2e/local-host.test.ts': 'serves an app of its own',
  'test/e2e/package.test.ts': 'unpacks the zip by itself',
  'test/e2e/portable.test.ts': 'serves without a Function app',
  'test/e2e/simulated-model.test.ts': 'asks the simulated model alone',
  'test/e2e/start.test.ts': 'is about npm start, which serves the checkout',
}

const { values } = parseArgs({ options: { brief: { type: 'boolean', default: false } } })
const folders = values.brief ? ['test/contract'] : ['test/contract', 'test/e2e', 'test/faults']
const app = mkdtempSync(join(tmpdir(), 'tollgate-package-'))
try {
  unpack(readFileSync(join(ROOT, '.package/tollgate.zip')), app)
  const { status } = spawnSync(
    process.execPath,
    [
      join(ROOT, 'node_modules/vitest/vitest.mjs'),
      'run',
      '--config',
      'test/vitest.config.ts',
      ...folders.map((folder) => `${folder}/`),
      ...Object.keys(LEFT_OUT).flatMap((file) => ['--exclude', file]),
    ],
    { cwd: ROOT, env: { ...process.env, TOLLGATE_TEST_APP: app }, stdio: 'inherit' },
  )
  process.exitCode = status ?? 1
} finally {
  rmSync(app, { recursive: true, force: true })
}
