import { renameSync } from 'node:fs'
import { build } from 'esbuild'
import { BUNDLED, bundleOf, HAS_BUNDLES } from './bundled.ts'

/** Bundles what this run's tests start again and again, for Node 22.0 and later. */
export default async function setup(): Promise<void> {
  await Promise.all(BUNDLED.map(bundle))
  process.env[HAS_BUNDLES] = 'yes'
}

async function bundle(script: string): Promise<void> {
  const file = bundleOf(script)
  // Whole at once: another run may be starting it.
  const fresh = `${file}.${process.pid}`
  await build({
    entryPoints: [script],
    outfile: fresh,
    bundle: true,
    platform: 'node',
    target: 'node22',
    format: 'esm',
    // For the packages among its own imports that are CommonJS.
    banner: {
      js: "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);",
    },
    logLevel: 'warning',
  })
  renameSync(fresh, file)
}
