import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../../../support/host.ts'
import { AMPLE, newConsumers, PLAN, startModel, startTables, writePolicy } from '../../cache/gateway.ts'
import { withSpread } from '../../report.ts'
import { type Spread, spread } from '../../statistics.ts'
import { atMost, num, type Section } from '../../workbench/section.ts'
import { running, type Workbench } from '../../workbench/workbench.ts'
import { buildHost, bundledApp, cachingApp, unbundledApp } from '../apps.ts'
import { type App, type ColdStart, coldStart } from '../cold-start.ts'

const MOST_BEYOND_BARE_MS = 150
const MOST_OF_UNBUNDLED = 0.75

const BARE = 'one function, no bundle'
const BUNDLED = 'Tollgate, as it is deployed'
const NO_CACHE_YET = 'with V8’s compile cache, empty'
const CACHED = 'with V8’s compile cache, of an earlier start'
const UNBUNDLED = 'Tollgate, not bundled'

/** How long it takes from the start of the process to the first completion. */
export async function start(bench: Workbench): Promise<readonly Section[]> {
  const { quick, folder } = bench
  const rounds = quick ? 1 : 10
  const [tables, model, host, unbundled] = await Promise.all([
    running(bench, startTables()),
    running(bench, startModel('constant')),
    buildHost(folder),
    unbundledApp(folder),
  ])
  const [consumer] = await newConsumers(tables.url, [{ consumer: 'cold', plan: PLAN }])
  const key = consumer?.key ?? ''
  const settings = {
    TOLLGATE_STORAGE: tables.url,
    // The default would make a slow moment of a busy machine a refusal.
    TOLLGATE_STORE_DEADLINE_MS: '10000',
    TOLLGATE_POLICY: writePolicy(folder, 'cold', { plans: { [PLAN]: AMPLE } }),
    OPENAI_BASE_URL: `${model.url}/v1`,
    OPENAI_API_KEY: 'none',
  }
  const app = (name: string, root: string, more: Partial<App> & { readonly cache?: string } = {}): App => ({
    name,
    key,
    settings: { ...settings, APP_ROOT: root, ...(more.cache === undefined ? {} : { CACHE_FOLDER: more.cache }) },
    ...(more.prepare === undefined ? {} : { prepare: more.prepare }),
  })
  const [empty, full] = [join(folder, 'empty-cache'), join(folder, 'full-cache')]
  const caching = cachingApp(folder)
  const anew = () => {
    rmSync(empty, { recursive: true, force: true })
    mkdirSync(empty)
  }
  const apps = [
    app(BARE, join(ROOT, 'test/bench/cold/servers/bare-app')),
    app(BUNDLED, bundledApp(folder)),
    app(NO_CACHE_YET, caching, { cache: empty, prepare: anew }),
    app(CACHED, caching, { cache: full }),
    app(UNBUNDLED, unbundled),
  ]
  const starts = await inTurn(host, apps, rounds)

  const over = (name: string, value: (start: ColdStart) => number): Spread =>
    spread((starts.get(name) ?? []).map(value))
  const first = (name: string) => over(name, ({ answered }) => answered).median
  const [beyond, share] = [first(BUNDLED) - first(BARE), first(BUNDLED) / first(UNBUNDLED)]
  const times = `${num(Math.round(share * 100) / 100)}`
  return [
    {
      title: 'From the start of the process to the first completion',
      method: `A host is started, asked for a completion by \`POST /api/generate\` as soon as it has registered its functions, and ended. Storage and model are up before, and the consumer's key is there; nothing is cached, so the first answer takes a look at the key, at the limit, at the caches and a call to the model. The host is the local host's own code as one file, and is the same for all rows. Telemetry is off.

- **${BARE}**: answers with a constant; \`@azure/functions\` comes from \`node_modules\`. What the host and the library cost.
- **${BUNDLED}**: the files of \`npm run package\`.
- **${NO_CACHE_YET}**, **${CACHED}**: the same behind a first line that calls \`module.enableCompileCache()\`.
- **${UNBUNDLED}**: the same sources compiled file by file, with all dependencies in \`node_modules\`.

The median of ${rounds} starts, in parentheses the least and the most. Rows are started in turn, after one start each that is not counted: so files are read from the system's memory and not from a disk.`,
      tables: [
        {
          head: ['', 'until the functions are registered, ms', 'until the first 200, ms', 'beyond the bare app, ms'],
          rows: apps.map(({ name }) => [
            name,
            withSpread(over(name, ({ loaded }) => loaded)),
            withSpread(over(name, ({ answered }) => answered)),
            name === BARE ? '' : num(first(name) - first(BARE)),
          ]),
        },
      ],
      findings: [
        `The app as it is deployed takes ${num(beyond)} ms more than the bare one, and ${times} times what it takes unbundled.`,
        `A compile cache that an earlier start has filled would spare ${num(first(BUNDLED) - first(CACHED))} ms; one that is empty ${num(first(BUNDLED) - first(NO_CACHE_YET))} ms. The app does not switch it on: a new instance has an empty one.`,
      ],
      bars: quick
        ? []
        : [
            atMost('first 200 beyond the bare app', beyond, MOST_BEYOND_BARE_MS, ' ms'),
            atMost('first 200 against the same app unbundled', share, MOST_OF_UNBUNDLED, ' ×'),
          ],
      must: [],
    },
  ]
}

async function inTurn(host: string, apps: readonly App[], rounds: number): Promise<Map<string, ColdStart[]>> {
  const starts = new Map<string, ColdStart[]>(apps.map(({ name }) => [name, []]))
  // One that is not counted, where any is.
  if (rounds > 1) for (const app of apps) await coldStart(host, app)
  for (let round = 0; round < rounds; round += 1) {
    for (const app of apps) {
      starts.get(app.name)?.push(await coldStart(host, app))
      process.stderr.write('.')
    }
  }
  process.stderr.write('\n')
  return starts
}
