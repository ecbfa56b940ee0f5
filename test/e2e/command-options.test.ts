import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ROOT } from '../support/host.ts'

/** What a command of the repository prints, and its exit code. */
function run(script: string, ...options: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, script), ...options], {
    encoding: 'utf8',
    timeout: 20_000,
  })
  return { status, text: stdout + stderr }
}

test.each([
  ['test/simulator/run.ts', 'npm run simulate -- takes --schedules <…>, --seed <…>,'],
  ['packages/workshop/src/package.ts', 'npm run package -- takes --out <…>.'],
  ['test/bench/run.ts', 'npm run bench -- takes --quick, --out <…>.'],
])('I6: %s says which options it takes, and has no stack for another', (script, text) => {
  const help = run(script, '--help')
  expect([help.status, help.text]).toEqual([0, expect.stringContaining(text)])
  const other = run(script, '--quik')
  expect([other.status, other.text]).toEqual([1, expect.stringContaining(`Unknown option '--quik'. ${text}`)])
  expect(other.text).not.toMatch(/^\s+at /m)
})

test('I6: a number of schedules that is none runs nothing', () => {
  expect(run('test/simulator/run.ts', '--schedules', 'many')).toEqual({
    status: 1,
    text: '--schedules must be a whole number, such as 1000.\n',
  })
})
