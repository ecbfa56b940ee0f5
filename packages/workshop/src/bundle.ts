import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, type Metafile } from 'esbuild'

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../../..')

/** Bundles the Function app into the one file that is deployed, dist/index.js. */
export async function bundle(): Promise<Metafile> {
  const { metafile } = await build({
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
    logLevel: 'warning',
  })
  return metafile
}
