import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { cleanEnv, ROOT } from '../support/host.ts'

const SCRIPT = join(ROOT, 'test/bench/gateway/run.ts')
const out = mkdtempSync(join(tmpdir(), 'tollgate-gateway-bench-'))
afterAll(() => rmSync(out, { recursive: true, force: true }))

test.skipIf(process.platform !== 'linux')(
  'npm run bench:gateway measures every way of a request, and writes a page of ratios',
  () => {
    const { status, stderr } = spawnSync(process.execPath, [SCRIPT, '--quick', '--out', out], {
      env: cleanEnv({}),
      encoding: 'utf8',
    })
    expect(status, stderr).toBe(0)
    const page = readFileSync(join(out, 'gateway-benchmark.md'), 'utf8')
    const ways = {
      hit: 'node:http',
      'call, cache off': 'undici proxy',
      'miss, stored in tables': 'undici proxy',
      'stream, in one piece': 'undici proxy',
      'stream, events 5 ms apart': 'undici proxy',
      'chat completion, hit': 'node:http',
      'chat completion, cache off': 'undici proxy',
      'chat stream, in one piece': 'undici proxy',
      'chat stream, events 5 ms apart': 'undici proxy',
    }
    for (const [way, floor] of Object.entries(ways)) {
      expect(page).toMatch(new RegExp(`^\\| ${way} \\| 4 \\| ${floor}: [\\d.,]+ \\| [\\d.,]+ \\| [\\d.,]+ \\(`, 'm'))
    }
    // A store that can't be measured says why.
    expect(page).toMatch(/^\| miss, stored in Redis \| 4 \||^- Not run: miss, stored in Redis.*: \w/m)
    expect(page).toMatch(/^\| the plain server \| [\d.,]+ \(/m)
    expect(page).not.toMatch(/NaN|undefined|not told/)
  },
  180_000,
)

test('npm run bench:gateway says which options it takes', () => {
  const { stdout } = spawnSync(process.execPath, [SCRIPT, '--help'], { encoding: 'utf8' })
  expect(stdout).toBe('npm run bench:gateway -- takes --quick, --only <…>, --out <…>, --against <…>.\n')
})
