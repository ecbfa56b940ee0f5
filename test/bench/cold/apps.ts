import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { build, type Plugin } from 'esbuild'
import { bundle, FILES } from '../../../packages/workshop/src/bundle.ts'
import { ROOT } from '../../support/host.ts'

const OPTIONS = { absWorkingDir: ROOT, platform: 'node', target: 'node24', logLevel: 'warning' } as const

/** The host that all apps are started on, as one file: the platform's worker is one, too. @returns its path */
export async function buildHost(folder: string): Promise<string> {
  const outfile = join(folder, 'host.mjs')
  await build({
    ...OPTIONS,
    entryPoints: ['test/bench/cold/servers/host.ts'],
    outfile,
    bundle: true,
    minify: true,
    format: 'esm',
  })
  return outfile
}

/** The app as it is deployed, from a checkout's dist/. @returns its folder */
export function bundledApp(folder: string, { name, root } = { name: 'bundled', root: ROOT }): string {
  const app = newApp(folder, name, 'dist/index.js')
  // All of it: another checkout's is made of other files.
  cpSync(join(root, 'dist'), join(app, 'dist'), { recursive: true })
  return app
}

/** The same, with V8's compile cache in CACHE_FOLDER switched on before the rest is loaded. @returns its folder */
export function cachingApp(folder: string): string {
  const app = newApp(folder, 'caching', 'main.js')
  for (const file of FILES) cpSync(join(ROOT, file), join(app, file))
  writeFileSync(
    join(app, 'main.js'),
    `require('node:module').enableCompileCache(process.env.CACHE_FOLDER)\nrequire('./dist/index.js')\n`,
  )
  return app
}

/**
 * The same app as a compiler leaves it: each of its files by itself, and its dependencies in node_modules.
 *
 * @returns its folder
 */
export async function unbundledApp(folder: string): Promise<string> {
  const app = newApp(folder, 'unbundled', 'functions/app.js')
  symlinkSync(join(ROOT, 'node_modules'), join(app, 'node_modules'), 'junction')
  const { metafile } = await bundle()
  const own = Object.keys(metafile.inputs).filter((input) => !input.includes('node_modules/'))
  const compile = (of: string, format: 'cjs' | 'esm') =>
    build({
      ...OPTIONS,
      entryPoints: own.filter((file) => file.startsWith(of)),
      outbase: ROOT,
      outdir: app,
      bundle: true,
      loader: { '.json': 'copy' },
      format,
      plugins: [apart(app)],
    })
  // As their package.json files say.
  await Promise.all([compile('functions/', 'cjs'), compile('packages/', 'esm')])
  writeFileSync(join(app, 'packages/package.json'), '{"type":"module"}')
  return app
}

/** Leaves all imports as they are, but for what our own files are called once they are compiled. */
function apart(app: string): Plugin {
  return {
    name: 'apart',
    setup({ onResolve }) {
      onResolve({ filter: /./ }, ({ path, kind, importer }) => {
        if (kind === 'entry-point') return undefined
        if (path.startsWith('.')) return { path: path.replace(/\.ts$/, '.js'), external: true }
        if (path !== '@tollgate/middleware') return { path, external: true }
        const from = join(app, relative(ROOT, dirname(importer)))
        const index = relative(from, join(app, 'packages/middleware/src/index.js')).split(sep).join('/')
        return { path: index, external: true }
      })
    },
  }
}

function newApp(folder: string, name: string, main: string): string {
  const app = join(folder, name)
  mkdirSync(join(app, 'dist'), { recursive: true })
  cpSync(join(ROOT, 'host.json'), join(app, 'host.json'))
  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  writeFileSync(join(app, 'package.json'), JSON.stringify({ ...manifest, main }))
  return app
}
