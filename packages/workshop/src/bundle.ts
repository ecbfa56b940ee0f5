import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type BuildOptions, build, type Metafile, type OutputFile, type Plugin } from 'esbuild'

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../../..')

export interface Bundled {
  readonly metafile: Metafile
  readonly files: readonly OutputFile[]
}

/** What is seldom needed and too large to be read at every start: loaded from a file beside the app's. */
const LATER: Readonly<Record<string, string>> = {
  'packages/middleware/src/transform/tokens.ts': 'tokens',
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
  target: 'node24',
  format: 'cjs',
  minify: true,
  keepNames: true,
  legalComments: 'none',
  metafile: true,
  write: false,
  logLevel: 'warning',
} satisfies BuildOptions

/** Bundles the Function app into the files that are deployed; in memory. */
export async function bundle(): Promise<Bundled> {
  const built = [
    await build({
      ...OPTIONS,
      entryPoints: [{ in: 'functions/app.ts', out: 'index' }],
      // Provided by the Functions worker, and by the local host in its place.
      external: ['@azure/functions-core'],
      plugins: [later()],
    }),
    await build({ ...OPTIONS, entryPoints: Object.entries(LATER).map(([file, name]) => ({ in: file, out: name })) }),
  ]
  return {
    metafile: {
      inputs: Object.assign({}, ...built.map(({ metafile }) => metafile.inputs)),
      outputs: Object.assign({}, ...built.map(({ metafile }) => metafile.outputs)),
    },
    files: built.flatMap(({ outputFiles }) => outputFiles),
  }
}

/** Leaves imports of those files as they are, but for their names. */
function later(): Plugin {
  return {
    name: 'later',
    setup({ onResolve }) {
      onResolve({ filter: /^\./ }, ({ path, resolveDir }) => {
        const name = Object.entries(LATER).find(([file]) => join(ROOT, file) === join(resolveDir, path))?.[1]
        return name === undefined ? undefined : { path: `./${name}.js`, external: true }
      })
    },
  }
}
