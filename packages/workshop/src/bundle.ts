import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, type Metafile, type OutputFile } from 'esbuild'

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../../..')

export interface Bundled {
  readonly metafile: Metafile
  readonly files: readonly OutputFile[]
}

/** Bundles the Function app into the one file that is deployed, dist/index.js; in memory. */
export async function bundle(): Promise<Bundled> {
  const { metafile, outputFiles } = await build({
    absWorkingDir: ROOT,
    entryPoints: ['functions/app.ts'],
    outfile: 'dist/index.js',
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'cjs',
    minify: true,
    keepNames: true,
    legalComments: 'none',
    // Provided by the Functions worker, and by the local host in its place.
    external: ['@azure/functions-core'],
    metafile: true,
    write: false,
    logLevel: 'warning',
  })
  return { metafile, files: outputFiles }
}
