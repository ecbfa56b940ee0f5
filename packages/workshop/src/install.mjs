// Installs what package-lock.json names, unless it is installed already; then runs the script that is given, if any.
// Plain JavaScript without imports from node_modules, because it runs before there is anything else, on whatever Node
// the machine has.
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { run, Stopped } from './install/child.mjs'
import { isInstalled } from './install/installed.mjs'
import { takeLock } from './install/lock.mjs'
import { findNode } from './install/node.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '../../..')
const stamp = join(root, 'node_modules/.tollgate-installed')
// Beside node_modules, which npm ci removes first.
const lockFile = join(root, '.tollgate-installing')
const wanted = createHash('sha256')
  .update(readFileSync(join(root, 'package-lock.json')))
  .digest('hex')
const script = process.argv[2]

try {
  if (!isStamped()) await install()
  if (script !== undefined) process.exitCode = await run(findNode(root), [join(root, script)], { cwd: root })
  else findNode(root)
} catch (error) {
  if (!(error instanceof Stopped)) {
    console.error(error.message)
    process.exitCode = 1
  }
}

async function install() {
  const lock = await takeLock(lockFile, (pid) =>
    console.log(`Another process (${pid}) is installing the dependencies; waiting for it …`),
  )
  try {
    if (isStamped()) return
    if (!isInstalled(root)) await npmCi(lock)
    writeFileSync(stamp, wanted)
  } finally {
    lock.release()
  }
}

async function npmCi(lock) {
  console.log('Installing dependencies (once; about half a minute with a warm package cache) …')
  rmSync(stamp, { force: true })
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
  const status = await run('npm', args, {
    cwd: root,
    apart: true,
    // npm may outlive us, and then goes on writing.
    onStart: (pid) => lock.share(pid),
    onSignal: () => console.log('\nStopping npm ci; the next start installs anew …'),
  })
  if (status !== 0) throw new Error('npm ci failed; its own message stands above.')
}

function isStamped() {
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted
}
