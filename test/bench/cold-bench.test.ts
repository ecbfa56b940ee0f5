import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { cleanEnv, ROOT } from '../support/host.ts'

const out = mkdtempSync(join(tmpdir(), 'tollgate-cold-bench-'))
afterAll(() => rmSync(out, { recursive: true, force: true }))

test.skipIf(process.platform !== 'linux')(
  'npm run bench:cold starts every app and reads the memory of one',
  () => {
    const script = join(ROOT, 'test/bench/cold/run.ts')
    const { status, stderr } = spawnSync(process.execPath, [script, '--quick', '--out', out], {
      env: cleanEnv({}),
      encoding: 'utf8',
    })
    expect(status, stderr).toBe(0)
    const page = readFileSync(join(out, 'cold-start.md'), 'utf8')
    const apps = ['one function, no bundle', 'Tollgate, as it is deployed', 'Tollgate, not bundled']
    for (const app of apps) expect(page).toMatch(new RegExp(`^\\| ${app} \\| [\\d.,]+ \\(.* \\| [\\d.,]+ \\(`, 'm'))
    expect(page).toMatch(/^\| 400 \| [\d.,]+ \|$/m)
    expect(page).not.toMatch(/NaN|undefined/)
  },
  60_000,
)
