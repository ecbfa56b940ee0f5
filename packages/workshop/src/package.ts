/*
 * `npm run package`: the zip that `func azure functionapp publish` would make of what is built, to deploy it by other
 * means; the same bytes from the same commit. --out <file>: where to write, instead of .package/tollgate.zip.
 * Ends with 1, and writes nothing, where it would hold what it must not, lack what it must hold, or be too large.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { archive } from './archive.ts'
import { ROOT } from './bundle.ts'
import { commandOptions } from './command-options.ts'
import { deployed } from './deployed.ts'

const MOST_BYTES = 5 * 1024 * 1024

const values = commandOptions('npm run package', { out: { type: 'string' } })
const out = resolve(ROOT, values.out ?? '.package/tollgate.zip')

const { paths, faults: found } = deployed()
const faults = [...found]
const zip = archive(new Map(paths.map((path) => [path, readFileSync(join(ROOT, path))])))
if (zip.byteLength > MOST_BYTES) faults.push(`the zip would have ${zip.byteLength} bytes, above ${MOST_BYTES}`)

for (const fault of faults) console.error(fault)
if (faults.length === 0) {
  mkdirSync(dirname(out), { recursive: true })
  writeFileSync(out, zip)
  console.log(`${relative(process.cwd(), out)}: ${paths.toSorted().join(', ')}`)
  console.log(`${zip.byteLength} bytes, SHA-256 ${createHash('sha256').update(zip).digest('hex')}`)
}
process.exitCode = faults.length > 0 ? 1 : 0
