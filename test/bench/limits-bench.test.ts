import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { cleanEnv, ROOT } from '../support/host.ts'
import { noRedis } from '../support/redis.ts'

const out = mkdtempSync(join(tmpdir(), 'tollgate-limits-bench-'))
afterAll(() => rmSync(out, { recursive: true, force: true }))

test('npm run bench:limits measures every limiter, and fails when one that is held to the promise admits too much', () => {
  const script = join(ROOT, 'test/bench/limits/run.ts')
  const { status, stderr } = spawnSync(process.execPath, [script, '--quick', '--out', out, '--hold', 'rlf-memory'], {
    env: cleanEnv({}),
    encoding: 'utf8',
  })
  expect([status, stderr]).toEqual([1, expect.any(String)])

  const page = readFileSync(join(out, 'limits-benchmark.md'), 'utf8')
  const held = (limiter: string) =>
    new RegExp(`^\\| worst over-admission, ${limiter}, .* \\| (\\S+) \\|$`, 'm').exec(page)?.[1]
  expect(held('rate-limiter-flexible, in each process')).toBe('**no**')
  expect(held('Tollgate, tables')).toBe('yes')
  if (noRedis === undefined) expect(held('Tollgate, Redis')).toBe('yes')

  for (const section of ['What it costs', 'What a request waits', 'Whether Retry-After is true', 'Beside others']) {
    expect(page).toMatch(new RegExp(`^## ${section}\\n(?:(?!^## )[^])*^\\| .*\\d`, 'm'))
  }
  expect(page).not.toMatch(/NaN|undefined/)
  expect(readFileSync(join(out, 'benchmarks/limits.svg'), 'utf8')).toMatch(/^<svg [\s\S]*<rect[\s\S]*<\/svg>\n$/)
}, 180_000)
