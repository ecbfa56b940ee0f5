import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { cleanEnv, ROOT } from '../support/host.ts'

const out = mkdtempSync(join(tmpdir(), 'tollgate-store-bench-'))
afterAll(() => rmSync(out, { recursive: true, force: true }))

test('npm run bench:store measures each call by each way', () => {
  const script = join(ROOT, 'test/bench/store/run.ts')
  const { status, stderr } = spawnSync(process.execPath, [script, '--quick', '--out', out], {
    env: cleanEnv({}),
    encoding: 'utf8',
  })
  expect(status, stderr).toBe(0)
  const page = readFileSync(join(out, 'store-benchmark.md'), 'utf8')
  for (const call of ['read', 'read, 404', 'insert', 'replace', 'remove, 404']) {
    expect(page).toMatch(new RegExp(`^\\| ${call} (?:\\| [\\d.,]+ \\(.*\\) ){3}\\|$`, 'm'))
  }
  expect(page).not.toMatch(/NaN|undefined/)
}, 60_000)
