import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { cleanEnv, ROOT } from '../support/host.ts'

const out = mkdtempSync(join(tmpdir(), 'tollgate-bench-'))
afterAll(() => rmSync(out, { recursive: true, force: true }))

test('npm run bench measures every subject, and writes a page with a table and a chart', () => {
  const script = join(ROOT, 'test/bench/run.ts')
  const { status, stderr } = spawnSync(process.execPath, [script, '--quick', '--out', out], {
    env: cleanEnv({}),
    encoding: 'utf8',
  })
  expect([status, stderr]).toEqual([0, expect.any(String)])
  const page = readFileSync(join(out, 'benchmarks.md'), 'utf8')
  for (const subject of ['bare node:http', 'constant Function app', 'full pipeline, hit', 'full pipeline, miss']) {
    expect(page).toMatch(new RegExp(`^\\| ${subject} \\| [\\d.,]+ \\(`, 'm'))
  }
  expect(page).not.toMatch(/NaN|undefined/)
  expect(readFileSync(join(out, 'benchmarks/overhead.svg'), 'utf8')).toMatch(/^<svg [\s\S]*<rect[\s\S]*<\/svg>\n$/)
}, 120_000)
