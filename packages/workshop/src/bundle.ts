import { dirname, join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type BuildOptions, build, type Metafile, type OutputFile, type Plugin } from 'esbuild'

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../../..')

export interface Bundled {
  readonly metafile: Metafile
  readonly files: readonly OutputFile[]
}

/**
 * What is imported when it is needed, each a file of its own beside the app's: V8 reads through the whole of a file before
 * it runs the first line, and what waits in a function there is read twice.
 */
const LATER: Readonly<Record<string, string>> = {
  '@azure/identity': 'identity',
  aws4fetch: 'aws4fetch',
  '@redis/client': 'redis',
  'packages/middleware/src/auth/tokens/jose.ts': 'jose',
  'packages/middleware/src/pipeline/undici.ts': 'undici',
  'packages/middleware/src/storage/sdk.ts': 'tables',
  'packages/middleware/src/operations/o200k-base.ts': 'tokens',
  'packages/middleware/src/targets/sdk.ts': 'openai',
  'packages/middleware/src/telemetry/open-exporters.ts': 'opentelemetry',
  'packages/middleware/src/upstream/azure-pipeline.ts': 'azure-pipeline',
}

/** The app's file, which imports the others when it needs them. */
export const MAIN = 'dist/index.js'
/** All that is deployed. */
export const FILES: readonly string[] = [MAIN, ...Object.values(LATER).map((name) => `dist/${name}.js`)]

const OPTIONS = {
  absWorkingDir: ROOT,
  outdir: 'dist',
  bundle: true,
  platform: 'node',
  // The oldest Node that package.json admits.
  target: 'node22',
  format: 'cjs',
  // Names stay, for the stacks that are logged. To shorten them and give them back costs a call for each closure.
  minifyWhitespace: true,
  minifySyntax: true,
  legalComments: 'none',
  metafile: true,
  write: false,
  logLevel: 'warning',
  // So that an import of what comes later is a require: Node would search the file for its names otherwise.
  supported: { 'dynamic-import': false },
} satisfies BuildOptions

/** Bundles the Function app into the files that are deployed; in memory. */
export async function bundle(): Promise<Bundled> {
  // The app's file last: whoever finds it finds what it loads later, too.
  const built = [
    await build({
      ...OPTIONS,
      entryPoints: Object.entries(LATER).map(([file, name]) => ({ in: file, out: name })),
      plugins: [later()],
    }),
    await build({
      ...OPTIONS,
      entryPoints: [{ in: 'functions/app.ts', out: 'index' }],
      // Provided by the Functions worker, and by the local host in its place.
      external: ['@azure/functions-core'],
      plugins: [later()],
    }),
  ]
  return {
    metafile: {
      inputs: Object.assign({}, ...built.map(({ metafile }) => metafile.inputs)),
      outputs: Object.assign({}, ...built.map(({ metafile }) => metafile.outputs)),
    },
    files: built.flatMap(({ outputFiles }) => outputFiles),
  }
}

/** Leaves imports of what comes later as they are, but for their names. Elsewhere than in such an import it is bundled. */
function later(): Plugin {
  return {
    name: 'later',
    setup({ onResolve }) {
      onResolve({ filter: /./ }, ({ path, resolveDir, kind }) => {
        if (kind !== 'dynamic-import') return undefined
        const file = path.startsWith('.') ? relative(ROOT, join(resolveDir, path)).split(sep).join('/') : path
        const name = LATER[file]
        return name === undefined ? undefined : { path: `./${name}.js`, external: true }
      })
    },
  }
}
