import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build, type Plugin } from 'esbuild'
import { ROOT } from '../../support/host.ts'
import type { ServerCommand } from './server-process.ts'

/*
 * All that the bench knows of the gateway that it measures: two ways to start one, by settings that are promised in
 * docs/settings.md and docs/portable.md, and a policy. So that the same bench measures another checkout, too.
 */

export interface Checkout {
  /** For the tables. */
  readonly name: string
  readonly root: string
}

/** @param against another checkout's folder, to be measured before this one in each round */
export function checkouts(against: string | undefined): readonly Checkout[] {
  const now = { name: 'now', root: ROOT }
  return against === undefined ? [now] : [{ name: 'before', root: against }, now]
}

export interface GatewaySettings {
  /** A connection string. */
  readonly tables: string
  readonly redis?: string | undefined
  /** The model's base URL, with its version. */
  readonly model: string
  /** A path. */
  readonly policy: string
}

/** As docs/settings.md names them. */
export function environment({ tables, redis, model, policy }: GatewaySettings): Record<string, string> {
  return {
    TOLLGATE_STORAGE: tables,
    ...(redis === undefined ? {} : { TOLLGATE_REDIS: redis }),
    TOLLGATE_POLICY: policy,
    // The defaults would make a slow moment of the machine's a 503, or a miss that is not stored.
    TOLLGATE_STORE_DEADLINE_MS: '30000',
    TOLLGATE_CACHE_DEADLINE_MS: '30000',
    OPENAI_BASE_URL: model,
    OPENAI_API_KEY: 'none',
  }
}

export const PLAN = 'bench'

export interface PolicyOptions {
  readonly cache: boolean
  /** The route that isn't cached, where none is to be: `generate` by default. */
  readonly route?: string
}

/** Limits on requests, on the model's requests and on money, all counted and none ever reached. @returns the policy's path */
export function writePolicy(folder: string, { cache, route = 'generate' }: PolicyOptions): string {
  const file = join(folder, cache ? 'cached.json' : `uncached-${route}.json`)
  const requests = { requests: 1_000_000, per: '1m' }
  const policy = {
    plans: { [PLAN]: { limits: [requests, { ...requests, model: 'default' }, { usd: 1_000_000, per: 'month' }] } },
    models: { default: { price: { input: 2.5, output: 10 } } },
    ...(cache ? {} : { routes: { [route]: { cache: false } } }),
  }
  writeFileSync(file, JSON.stringify(policy))
  return file
}

/**
 * The library in a plain server of Node's, as `npm run example` builds it.
 *
 * @param plugins by which a bench changes it
 * @returns the file
 */
export async function bundlePortable(
  { name, root }: Checkout,
  folder: string,
  plugins: readonly Plugin[] = [],
): Promise<string> {
  const outfile = join(folder, `portable-${name}.cjs`)
  await build({
    absWorkingDir: join(root, 'examples/portable'),
    entryPoints: ['server.ts'],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node22',
    format: 'cjs',
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: 'none',
    logLevel: 'warning',
    plugins: [...plugins],
  })
  return outfile
}

/** What the plain server prints when it is up. */
export const PORTABLE_STARTED = /"event":"listening","url":"([^"]+)"/

export function portable(bundle: string, settings: GatewaySettings, folder: string): ServerCommand {
  return { script: [bundle], settings: environment(settings), started: PORTABLE_STARTED, folder }
}

/** The local host of a checkout, serving its Function app. @throws where that is not built. */
export function functionApp({ root }: Checkout, settings: GatewaySettings, folder: string): ServerCommand {
  if (!existsSync(join(root, 'dist/index.js'))) throw new Error(`${root} has no dist/: run npm run build there.`)
  return onLocalHost(root, environment(settings), folder)
}

/** The local host of a checkout, serving a function that reads the request and answers with a constant. */
export function trivialApp({ root }: Checkout, folder: string): ServerCommand {
  return onLocalHost(root, { APP_ROOT: join(ROOT, 'test/bench/cache/servers/constant-app') }, folder)
}

function onLocalHost(root: string, settings: ServerCommand['settings'], folder: string): ServerCommand {
  return {
    script: [join(root, 'test/support/bare-host.ts')],
    ...(settings === undefined ? {} : { settings }),
    started: /Tollgate runs on (\S+)/,
    folder,
  }
}
