import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { cleanEnv, ROOT } from '../support/host.ts'
import { noRedis } from '../support/redis.ts'
import { noNginx } from './cache/nginx.ts'

const out = mkdtempSync(join(tmpdir(), 'tollgate-cache-bench-'))
afterAll(() => rmSync(out, { recursive: true, force: true }))

test('npm run bench:cache measures every subject, and holds the log and stampedes to what must be', () => {
  const script = join(ROOT, 'test/bench/cache/run.ts')
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, '--quick', '--out', out], {
    env: cleanEnv({}),
    encoding: 'utf8',
  })
  const unmet = stdout.split('\n').filter((line) => line.endsWith('| **no** |'))
  expect(unmet).toEqual([])
  expect(status, stderr).toBe(0)
  const page = readFileSync(join(out, 'cache-benchmark.md'), 'utf8')

  const subjects = [
    'constant Function app',
    'constant, with a log line',
    'hit, memory',
    'hit, Table Storage',
    'cache off',
    'miss, stored',
  ]
  const redisSubjects = noRedis === undefined ? ['hit, Redis'] : []
  const nginxSubjects = noNginx === undefined ? ['NGINX, hit', 'NGINX, miss'] : []
  for (const kib of [1, 16, 64]) {
    for (const subject of [...subjects, ...redisSubjects, ...nginxSubjects]) {
      expect(page).toMatch(new RegExp(`^\\| ${kib} KiB \\| ${subject} \\| [\\d.,]+ \\(`, 'm'))
    }
  }
  for (const scope of ['consumer', 'plan', 'shared'])
    expect(page).toMatch(new RegExp(`^\\| ${scope} \\| [\\d.]+ % \\|`, 'm'))

  const stores = ['Table Storage', ...(noRedis === undefined ? ['Redis'] : [])]
  for (const store of stores) {
    expect(page).toMatch(new RegExp(`^\\| ${store} \\| 1 \\| asked for the first time \\| 80 \\| 1 \\| 80 \\|`, 'm'))
    expect(page).toMatch(new RegExp(`^\\| ${store} \\| 4 \\| missed before \\| 80 \\| 1 \\| 80 \\|`, 'm'))
  }
  expect(page).toMatch(/^\| off \| 1 \| asked for the first time \| 80 \| 80 \| 80 \|/m)

  expect(page).not.toMatch(/NaN|undefined/)
  expect(readFileSync(join(out, 'benchmarks/cache.svg'), 'utf8')).toMatch(/^<svg [\s\S]*<rect[\s\S]*<\/svg>\n$/)
}, 180_000)
