import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { ROOT } from './bundle.ts'

/*
 * Imports run one way. Each room of the middleware may import what stands beside it here, and itself; types count too.
 */
const ROOMS: Readonly<Record<string, readonly string[]>> = {
  pipeline: [],
  storage: ['pipeline'],
  telemetry: ['pipeline'],
  policy: ['pipeline'],
  health: ['pipeline'],
  completion: ['pipeline', 'policy'],
  auth: ['pipeline', 'policy', 'completion', 'storage'],
  limits: ['pipeline', 'policy', 'completion', 'storage'],
  cache: ['pipeline', 'policy', 'completion', 'storage'],
  transform: ['pipeline', 'policy', 'completion'],
  upstream: ['pipeline', 'policy', 'completion', 'transform'],
}

/** Packages that only some files may import. */
const PACKAGES: Readonly<Record<string, RegExp>> = {
  '@azure/functions': /^functions\//,
  '@azure/data-tables': /^(?:packages\/middleware\/src\/storage|test\/(?:support|bench))\//,
  '@redis/client': /^packages\/middleware\/src\/(?:storage\/|\w+\/stores\/redis\.ts$)/,
  '@azure/core-rest-pipeline': /^packages\/middleware\/src\/(?:storage|upstream)\//,
  '@azure/identity': /^packages\/middleware\/src\/(?:storage|upstream)\//,
  openai: /^packages\/middleware\/src\/upstream\//,
  undici: /^packages\/middleware\/src\/(?:pipeline\/undici\.ts|storage\/|upstream\/)/,
  azurite: /^(?:packages\/local-host\/src\/azurite|test\/support)\//,
  '@tollgate/middleware': /^(?:functions|packages\/(?:local-host|cli|workshop)\/src|test)\//,
  '@tollgate/local-host': /^(?:packages\/cli\/src|test)\//,
}

const MIDDLEWARE = 'packages/middleware/src'

function faultsOf(file: string): string[] {
  const text = readFileSync(join(ROOT, file), 'utf8')
  const specifiers = [...text.matchAll(/(?:\bfrom|\bimport\(|^import|\brequire\()\s*'([^']+)'/gm)].map(
    ([, specifier]) => specifier ?? '',
  )
  return specifiers.map((specifier) => faultOf(file, specifier)).filter((fault) => fault !== undefined)
}

function faultOf(file: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) {
    const name = Object.keys(PACKAGES).find((known) => specifier === known || specifier.startsWith(`${known}/`))
    const allowed = name === undefined || PACKAGES[name]?.test(file)
    return allowed ? undefined : `${file} may not import ${specifier}`
  }
  const target = relative(ROOT, join(ROOT, dirname(file), specifier))
    .split(sep)
    .join('/')
  if (!file.startsWith(`${MIDDLEWARE}/`)) {
    return target.startsWith(`${MIDDLEWARE}/`)
      ? `${file} reaches into the middleware; import @tollgate/middleware`
      : undefined
  }
  if (!target.startsWith(`${MIDDLEWARE}/`)) return `${file} reaches outside its package: ${specifier}`
  const [from, to] = [roomOf(file), roomOf(target)]
  if (from === undefined || from === to) return undefined
  if (!ROOMS[from]?.includes(to ?? '')) return `${file}: ${from} may not import ${to ?? 'the package’s index'}`
  return target.endsWith(`${to}/index.ts`) ? undefined : `${file}: import ${to} by its index.ts`
}

/** `undefined` for the package's own index. */
function roomOf(file: string): string | undefined {
  const [room, ...rest] = file.slice(MIDDLEWARE.length + 1).split('/')
  return rest.length > 0 ? room : undefined
}

const files = ['functions', 'packages', 'test']
  .flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((file) => join(folder, file)),
  )
  .map((file) => file.split(sep).join('/'))
  .filter((file) => file.endsWith('.ts') && !file.includes('node_modules'))
const rooms = new Set(files.filter((file) => file.startsWith(`${MIDDLEWARE}/`)).map(roomOf))
const unlisted = [...rooms].filter((room) => room !== undefined && ROOMS[room] === undefined)
const faults = [
  ...unlisted.map((room) => `${MIDDLEWARE}/${room} has no directions; add them to check-imports.ts`),
  ...files.filter((file) => !file.endsWith('.test.ts')).flatMap(faultsOf),
]
for (const fault of faults) console.error(fault)
console.log(`imports: ${files.length} files, ${faults.length} faults`)
process.exitCode = faults.length > 0 ? 1 : 0
