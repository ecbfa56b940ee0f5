/*
 * `npm run stage`: what is built, in .package/app, as azd takes it. azd goes by .funcignore too, but reads it in another way
 * than Core Tools, and installs and builds whatever package.json names; so it gets a folder in which there is nothing to
 * leave out, install or build.
 */
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative, sep } from 'node:path'
import { ROOT } from './bundle.ts'
import { funcignore } from './funcignore.ts'

const FOLDER = join(ROOT, '.package/app')
/** Where nothing that is deployed can be, and much else is. */
const NEVER = /^(?:node_modules|\.\w+)$/

const isDeployed = funcignore(readFileSync(join(ROOT, '.funcignore'), 'utf8'))
const files = readdirSync(ROOT, { withFileTypes: true })
  .filter(({ name }) => !NEVER.test(name))
  .flatMap((entry) => (entry.isDirectory() ? filesIn(entry.name) : [entry.name]))
  .filter((file) => file !== 'package.json' && isDeployed(file))

rmSync(FOLDER, { recursive: true, force: true })
for (const file of files) cpSync(join(ROOT, file), join(FOLDER, file))
const { name, version, main } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
mkdirSync(FOLDER, { recursive: true })
writeFileSync(join(FOLDER, 'package.json'), `${JSON.stringify({ name, version, private: true, main }, null, 2)}\n`)
console.log(`.package/app: ${['package.json', ...files].toSorted().join(', ')}`)

/** Paths from the root, with slashes. */
function filesIn(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.parentPath.includes(`${sep}node_modules`))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)).split(sep).join('/'))
}
