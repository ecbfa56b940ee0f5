import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { bundle, ROOT } from './bundle.ts'

/*
 * What is deployed is one file, which package.json names, with one copy of @azure/functions: a second copy would lose
 * what app.setup was told.
 */
const { inputs, outputs } = (await bundle()).metafile
const faults: string[] = []

const files = Object.keys(outputs)
if (files.length !== 1) faults.push(`the bundle is ${files.length} files: ${files.join(', ')}`)

const { main } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { main: string }
if (main !== files[0]) faults.push(`package.json#main is ${main}, the bundle is ${files[0]}`)

const copies = new Set(
  Object.keys(inputs)
    .map((input) => /^(.*node_modules\/@azure\/functions)\//.exec(input)?.[1])
    .filter((copy) => copy !== undefined),
)
if (copies.size !== 1) faults.push(`${copies.size} copies of @azure/functions: ${[...copies].join(', ')}`)

const development = Object.keys(inputs).filter((input) =>
  /node_modules\/(?:azurite|vitest|fast-check|esbuild)\//.test(input),
)
if (development.length > 0) faults.push(`tools for development are in the bundle: ${development[0]}`)

for (const fault of faults) console.error(fault)
console.log(
  `bundle: ${files.join(', ')}, ${((outputs[main]?.bytes ?? 0) / 1e6).toFixed(2)} MB, ${faults.length} faults`,
)
process.exitCode = faults.length > 0 ? 1 : 0
