import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

/*
 * Writes dist/server.cjs: the server and all that it imports in one file, which needs Node and nothing else. The vocabulary
 * that transforms count by comes along, as a file that is loaded when it is needed.
 */
await build({
  absWorkingDir: dirname(fileURLToPath(import.meta.url)),
  entryPoints: { server: 'server.ts' },
  outdir: 'dist',
  outExtension: { '.js': '.cjs' },
  bundle: true,
  platform: 'node',
  target: 'node22',
  format: 'cjs',
  // Names stay, for the stacks that are logged.
  minifyWhitespace: true,
  minifySyntax: true,
  legalComments: 'none',
  logLevel: 'info',
})
