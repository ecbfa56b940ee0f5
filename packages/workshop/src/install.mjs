// Installs what package-lock.json names, unless it is installed already. Plain JavaScript without imports from
// node_modules, because it runs before there is anything else, on whatever Node the machine has.
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

if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== wanted) {
  console.log('Installing dependencies (once; about half a minute with a warm package cache) …')
  // No dependency needs its install scripts, so none runs.
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  const { status } = spawnSync('npm', args, { cwd: root, stdio: 'inherit', shell: process.platform === 'win32' })
  if (status !== 0) {
    console.error('npm ci failed; its own message stands above.')
    process.exit(1)
  }
  writeFileSync(stamp, wanted)
}

// npm puts node_modules/.bin first, so this is the Node that the scripts will run on.
const { stdout } = spawnSync('node', ['-p', 'process.versions.node'], {
  encoding: 'utf8',
  shell: process.platform === 'win32',
})
if (Number.parseInt(stdout, 10) < 24) {
  console.error(
    `Tollgate's scripts need Node 24 and found ${stdout.trim()}. For this platform npm has none: install it yourself.`,
  )
  process.exit(1)
}
