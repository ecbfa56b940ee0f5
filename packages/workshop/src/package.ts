/*
 * `npm run package`: the zip that `func azure functionapp publish` would make of what is built, to deploy it by other
 * means; the same bytes from the same commit. --out <file>: where to write, instead of .package/tollgate.zip.
 * Ends with 1, and writes nothing, where it would hold what it must not, lack what it must hold, or be too large.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { parseArgs } from 'node:util'
import { archive } from './archive.ts'
import { FILES, ROOT } from './bundle.ts'
import { funcignore } from './funcignore.ts'

const MOST_BYTES = 5 * 1024 * 1024
const NEEDED = ['host.json', 'package.json', ...FILES]
/** Policies: tollgate.policy.yaml where there is one, and whatever else a TOLLGATE_POLICY names. */
const POLICY = /^[\w.-]+\.(?:ya?ml|json)$/
/** Of that form, and something else, which may hold secrets or just has no use there. */
const NO_POLICY = /^(?:local\.settings[\w.-]*|package-lock\.json|tsconfig[\w.-]*|azure\.yaml|\..*)$/
/** Core Tools do not look into these. */
const NEVER = /^(?:\.git|\.vscode)(?:\/|$)/

const { values } = parseArgs({ options: { out: { type: 'string' } } })
const out = resolve(ROOT, values.out ?? '.package/tollgate.zip')

const isDeployed = funcignore(readFileSync(join(ROOT, '.funcignore'), 'utf8'))
const paths = readdirSync(ROOT, { recursive: true, withFileTypes: true })
  .filter((entry) => !entry.isDirectory())
  .map(({ parentPath, name }) => relative(ROOT, join(parentPath, name)).split(sep).join('/'))
  .filter((path) => !NEVER.test(path) && isDeployed(path))

const faults = [
  ...paths
    .filter((path) => !NEEDED.includes(path) && !isPolicy(path))
    .map((path) => `.funcignore lets ${path} be deployed; remove the one or the other`),
  ...NEEDED.filter((path) => !paths.includes(path)).map((path) => `${path} is missing, or .funcignore leaves it out`),
]
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

function isPolicy(path: string): boolean {
  return POLICY.test(path) && !NO_POLICY.test(path)
}
