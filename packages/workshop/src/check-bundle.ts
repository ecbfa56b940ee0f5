import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { deflateRawSync } from 'node:zlib'
import { bundle, FILES, MAIN, ROOT } from './bundle.ts'

/*
 * What is deployed is the app's file, which package.json names, and those that it loads later. Only the first has a copy
 * of @azure/functions, and only one: a second copy would lose what app.setup was told.
 */
const MOST_ZIPPED = 5e6
/** The vocabulary, what tokens are checked by, and what telemetry is exported by. */
const LOADED_LATER = /node_modules\/(?:gpt-tokenizer|jose|@opentelemetry|applicationinsights|@azure\/monitor-)/

const { metafile, files } = await bundle()
const { outputs } = metafile
const faults: string[] = []

const built = Object.keys(outputs)
if (built.toSorted().join() !== FILES.toSorted().join()) {
  faults.push(`the bundle is ${built.join(', ')}, not ${FILES.join(', ')}`)
}
const { main } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { main: string }
if (main !== MAIN) faults.push(`package.json#main is ${main}, the bundle is ${MAIN}`)

const deployed = readFileSync(join(ROOT, '.funcignore'), 'utf8').split('\n')
for (const file of FILES) {
  if (!deployed.includes(`!${file}`)) faults.push(`.funcignore leaves out ${file}`)
}

for (const [file, { inputs }] of Object.entries(outputs)) {
  const copies = new Set(
    Object.keys(inputs)
      .map((input) => /^(.*node_modules\/@azure\/functions)\//.exec(input)?.[1])
      .filter((copy) => copy !== undefined),
  )
  const expected = file === MAIN ? 1 : 0
  if (copies.size !== expected) faults.push(`${file}: ${copies.size} copies of @azure/functions, not ${expected}`)
  const late = Object.keys(inputs).filter((input) => LOADED_LATER.test(input))
  if (file === MAIN && late.length > 0) faults.push(`${file} holds what it should load later: ${late[0]}`)
}

const development = Object.keys(metafile.inputs).filter((input) =>
  /node_modules\/(?:azurite|vitest|fast-check|esbuild)\//.test(input),
)
if (development.length > 0) faults.push(`tools for development are in the bundle: ${development[0]}`)

const zipped = files.reduce((bytes, { contents }) => bytes + deflateRawSync(contents).byteLength, 0)
if (zipped > MOST_ZIPPED) faults.push(`the bundle is ${megabytes(zipped)} zipped, above ${megabytes(MOST_ZIPPED)}`)

for (const fault of faults) console.error(fault)
const sizes = Object.entries(outputs).map(([file, { bytes }]) => `${file} ${megabytes(bytes)}`)
console.log(`bundle: ${sizes.join(', ')}, ${megabytes(zipped)} zipped, ${faults.length} faults`)
process.exitCode = faults.length > 0 ? 1 : 0

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(2)} MB`
}
