import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ROOT } from '../support/host.ts'

const COMMANDS = [
  ['build', '--stdout', 'infra/main.bicep'],
  ['build-params', '--stdout', 'infra/main.bicepparam'],
  ['lint', 'infra/main.bicep'],
]
const LIMIT_MS = 60_000
/** What the parameter file has no default for. */
const CHOSEN = { TOLLGATE_MODEL: 'a-model', TOLLGATE_MODEL_VERSION: '2026-01-01' }

const version = spawnSync('bicep', ['--version'], { encoding: 'utf8', timeout: LIMIT_MS })
const found = version.status === 0
if (!found) console.info('bicep is not on the PATH: infra/ was parsed and checked by its structure, and not compiled.')

// Skipped where there is no compiler, since nothing in the package registry brings one.
test.skipIf(!found).each(COMMANDS)(
  'bicep %s',
  (...args) => {
    const { status, stderr } = spawnSync('bicep', args, {
      cwd: join(ROOT),
      env: { ...process.env, ...CHOSEN },
      encoding: 'utf8',
      timeout: LIMIT_MS,
    })
    expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' })
  },
  3 * LIMIT_MS,
)
