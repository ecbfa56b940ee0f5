// Installs what package-lock.json names, unless it is installed already; then runs the script that is given, if any.
// Plain JavaScript without imports from node_modules, because it runs before there is anything else, on whatever Node
// the machine has.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '../../..')
const stamp = join(root, 'node_modules/.tollgate-installed')
const wanted = createHash('sha256')
  .update(readFileSync(join(root, 'package-lock.json')))
  .digest('hex')
const script = process.argv[2]

if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== wanted) {
  console.log('Installing dependencies (once; about half a minute with a warm package cache) …')
  // No dependency needs its install scripts, so none runs.
  const args = [
    'ci',
    '--include=dev',
    '--include=optional',
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
  ]
  if (run('npm', args, 'inherit').status !== 0) fail('npm ci failed; its own message stands above.')
  writeFileSync(stamp, wanted)
}

// npm puts node_modules/.bin first, so this is the Node that the scripts run on. It is looked up from here, because the
// shell that runs an npm script remembers the Node that it found before there was another.
const { stdout } = run('node', ['-p', 'process.versions.node'], 'pipe')
if (!(Number.parseInt(stdout, 10) >= 24)) {
  fail(
    `Tollgate's scripts need Node 24 and found ${stdout?.trim() || process.version}. npm has none for this platform: install it yourself.`,
  )
}
if (script !== undefined) process.exit(run('node', [join(root, script)], 'inherit').status ?? 1)

function run(command, args, stdio) {
  // On Windows npm is a script, which only a shell can run.
  const shell = process.platform === 'win32' && command === 'npm'
  return spawnSync(command, args, { cwd: root, stdio, encoding: 'utf8', shell })
}

function fail(message) {
  console.error(message)
  process.exit(1)
}
