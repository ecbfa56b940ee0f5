import { build } from 'esbuild'
import { BARE_HOST, ROOT } from '../support/host.ts'

/** The local host as one file of JavaScript, for a Node that doesn't run TypeScript as it is. It needs Node 22.0. */
export async function bundleHost(file: string): Promise<void> {
  await build({
    absWorkingDir: ROOT,
    entryPoints: [BARE_HOST],
    outfile: file,
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
}
