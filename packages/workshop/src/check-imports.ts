import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { ROOT } from './bundle.ts'
import { type FolderImport, folderCircles } from './folder-circles.ts'

/*
 * Imports run one way. Each folder of the middleware may import what stands beside it here, and itself; types count too.
 */
const FOLDERS: Readonly<Record<string, readonly string[]>> = {
  pipeline: [],
  storage: ['pipeline'],
  telemetry: ['pipeline'],
  targets: ['pipeline'],
  policy: ['pipeline', 'targets', 'storage'],
  health: ['pipeline'],
  operations: ['pipeline'],
  surfaces: ['pipeline', 'operations'],
  auth: ['pipeline', 'policy', 'storage'],
  limits: ['pipeline', 'policy', 'operations', 'storage'],
  cache: ['pipeline', 'policy', 'operations', 'storage'],
  transform: ['pipeline', 'policy', 'operations'],
  upstream: ['pipeline', 'targets', 'policy', 'operations', 'transform'],
  usage: ['pipeline', 'policy', 'storage'],
  manage: ['pipeline', 'policy', 'storage', 'auth', 'limits', 'cache', 'usage'],
  gateway: [
    'pipeline',
    'storage',
    'targets',
    'policy',
    'health',
    'telemetry',
    'operations',
    'surfaces',
    'auth',
    'limits',
    'cache',
    'upstream',
    'usage',
    'manage',
  ],
}

/** Packages that only some files may import. */
const PACKAGES: Readonly<Record<string, RegExp>> = {
  '@azure/functions': /^(?:functions|packages\/azure-functions\/src)\//,
  '@azure/data-tables': /^(?:packages\/middleware\/src\/storage|test\/(?:support|bench))\//,
  '@redis/client': /^packages\/middleware\/src\/(?:storage\/|\w+\/stores\/redis\.ts$)/,
  '@azure/core-rest-pipeline': /^packages\/middleware\/src\/(?:storage|upstream)\//,
  '@azure/identity': /^packages\/middleware\/src\/(?:storage|upstream|telemetry)\//,
  '@azure/core-auth': /^packages\/middleware\/src\/telemetry\//,
  applicationinsights: /^packages\/middleware\/src\/telemetry\/application-insights\.ts$/,
  '@opentelemetry': /^packages\/middleware\/src\/telemetry\/(?:exporter|application-insights|otlp|open-exporters)\.ts$/,
  openai: /^(?:packages\/middleware\/src\/targets|test\/(?:clients|contract))\//,
  undici: /^(?:packages\/middleware\/src\/(?:pipeline\/undici\.ts|storage\/|upstream\/)|test\/bench\/gateway\/)/,
  jose: /^(?:packages\/middleware\/src\/auth\/tokens\/jose\.ts$|test\/)/,
  aws4fetch: /^packages\/middleware\/src\/targets\//,
  azurite: /^(?:packages\/local-host\/src\/azurite|test\/support)\//,
  '@tollgate/middleware': /^(?:functions|packages\/(?:azure-functions|local-host|cli|workshop)\/src|test)\//,
  '@tollgate/azure-functions': /^(?:functions|test)\//,
  '@tollgate/local-host': /^(?:packages\/cli\/src|test)\//,
}

const MIDDLEWARE = 'packages/middleware/src'

/** Imports that close a circle between folders today. Each is to go; none may be added. */
const ALLOWED_CIRCLES: readonly FolderImport[] = []

function specifiersOf(file: string): string[] {
  const text = readFileSync(join(ROOT, file), 'utf8')
  return [...text.matchAll(/(?:\bfrom|\bimport\(|^import|\brequire\()\s*'([^']+)'/gm)].map(
    ([, specifier]) => specifier ?? '',
  )
}

function faultsOf(file: string): string[] {
  return specifiersOf(file)
    .map((specifier) => faultOf(file, specifier))
    .filter((fault) => fault !== undefined)
}

function pathOf(file: string, specifier: string): string {
  return relative(ROOT, join(ROOT, dirname(file), specifier))
    .split(sep)
    .join('/')
}

/** Files of the repository's own that a file imports. */
function importsOf(file: string): string[] {
  return specifiersOf(file)
    .filter((specifier) => specifier.startsWith('.'))
    .map((specifier) => pathOf(file, specifier))
}

function faultOf(file: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) {
    const name = Object.keys(PACKAGES).find((known) => specifier === known || specifier.startsWith(`${known}/`))
    const allowed = name === undefined || PACKAGES[name]?.test(file)
    return allowed ? undefined : `${file} may not import ${specifier}`
  }
  const target = pathOf(file, specifier)
  if (!file.startsWith(`${MIDDLEWARE}/`)) {
    return target.startsWith(`${MIDDLEWARE}/`)
      ? `${file} reaches into the middleware; import @tollgate/middleware`
      : undefined
  }
  if (!target.startsWith(`${MIDDLEWARE}/`)) return `${file} reaches outside its package: ${specifier}`
  const [from, to] = [folderOf(file), folderOf(target)]
  if (from === undefined || from === to) return undefined
  if (!FOLDERS[from]?.includes(to ?? '')) return `${file}: ${from} may not import ${to ?? 'the package’s index'}`
  return target.endsWith(`${to}/index.ts`) ? undefined : `${file}: import ${to} by its index.ts`
}

/** `undefined` for the package's own index. */
function folderOf(file: string): string | undefined {
  const [folder, ...rest] = file.slice(MIDDLEWARE.length + 1).split('/')
  return rest.length > 0 ? folder : undefined
}

const files = ['functions', 'packages', 'test']
  .flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((file) => join(folder, file)),
  )
  .map((file) => file.split(sep).join('/'))
  .filter((file) => file.endsWith('.ts') && !file.includes('node_modules'))
const sources = files.filter((file) => !file.endsWith('.test.ts'))
// A file of type tests stands beside what it tests, and imports it as callers do.
const inFolders = sources.filter(
  (file) => /^(?:functions|packages\/[^/]+\/src)\//.test(file) && !file.endsWith('.types.ts'),
)
const folders = new Set(files.filter((file) => file.startsWith(`${MIDDLEWARE}/`)).map(folderOf))
const unlisted = [...folders].filter((folder) => folder !== undefined && FOLDERS[folder] === undefined)
const faults = [
  ...unlisted.map((folder) => `${MIDDLEWARE}/${folder} has no directions; add them to check-imports.ts`),
  ...sources.flatMap(faultsOf),
  ...folderCircles(
    inFolders.map((file) => ({ file, imports: importsOf(file) })),
    ALLOWED_CIRCLES,
  ),
]
for (const fault of faults) console.error(fault)
console.log(`imports: ${files.length} files, ${faults.length} faults`)
process.exitCode = faults.length > 0 ? 1 : 0
