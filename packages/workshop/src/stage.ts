/*
 * `npm run stage`: what is built, in .package/app, as azd takes it. azd goes by .funcignore too, but reads it in another way
 * than Core Tools, and installs and builds whatever package.json names; so it gets a folder in which there is nothing to
 * leave out, install or build.
 */
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './bundle.ts'
import { deployed } from './deployed.ts'

const FOLDER = join(ROOT, '.package/app')

const { paths, faults } = deployed()
if (faults.length > 0) throw new Error(faults.join('\n'))
const files = paths.filter((path) => path !== 'package.json')

rmSync(FOLDER, { recursive: true, force: true })
for (const file of files) cpSync(join(ROOT, file), join(FOLDER, file))
const { name, version, main } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
mkdirSync(FOLDER, { recursive: true })
writeFileSync(join(FOLDER, 'package.json'), `${JSON.stringify({ name, version, private: true, main }, null, 2)}\n`)
console.log(`.package/app: ${['package.json', ...files].toSorted().join(', ')}`)
