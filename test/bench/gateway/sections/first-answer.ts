import { join } from 'node:path'
import { ROOT, startHost } from '../../../support/host.ts'
import { newConsumers } from '../../cache/gateway.ts'
import { buildHost, bundledApp } from '../../cold/apps.ts'
import { type App, coldStart } from '../../cold/cold-start.ts'
import { withSpread } from '../../report.ts'
import { spread } from '../../statistics.ts'
import type { Section } from '../../workbench/section.ts'
import { running, type Workbench } from '../../workbench/workbench.ts'
import { bundlePortable, type Checkout, environment, PLAN, PORTABLE_STARTED, writePolicy } from '../checkout.ts'

const SERVERS = join(ROOT, 'test/bench/gateway/servers')
const PLAIN = 'the plain server'
const APP = 'the Function app'

interface Start {
  readonly what: typeof PLAIN | typeof APP
  readonly checkout: string
  /** A file that Node runs. */
  readonly script: string
  readonly app: App
  readonly ms: number[]
}

/** How long it takes from the start of the process to the first completion. */
export async function firstAnswer(bench: Workbench, checkouts: readonly Checkout[]): Promise<readonly Section[]> {
  const { quick, folder } = bench
  const rounds = quick ? 1 : 15
  const [tables, model, host] = await Promise.all([
    running(bench, startHost({}, join(SERVERS, 'table-service.ts'), /tables at (\S+)/)),
    running(bench, startHost({}, join(SERVERS, 'model.ts'), /answers on (\S+)/)),
    buildHost(folder),
  ])
  const [consumer] = await newConsumers(tables.url, [{ consumer: 'first', plan: PLAN }])
  const settings = environment({
    tables: tables.url,
    model: `${model.url}/v1`,
    policy: writePolicy(folder, { cache: true }),
  })
  const starts: Start[] = []
  for (const checkout of checkouts) {
    const app = { name: checkout.name, key: consumer?.key ?? '' }
    const root = bundledApp(folder, checkout)
    const plain = { ...app, settings: { ...settings, HOST: '127.0.0.1' }, served: PORTABLE_STARTED }
    starts.push(
      { what: PLAIN, checkout: checkout.name, script: await bundlePortable(checkout, folder), app: plain, ms: [] },
      {
        what: APP,
        checkout: checkout.name,
        script: host,
        app: { ...app, settings: { ...settings, APP_ROOT: root } },
        ms: [],
      },
    )
  }
  // Once before, so that files are read from the system's memory and not from a disk.
  if (!quick) for (const { script, app } of starts) await coldStart(script, app)
  for (let round = 0; round < rounds; round += 1) {
    for (const { script, app, ms } of starts) ms.push((await coldStart(script, app)).answered)
    process.stderr.write('.')
  }
  process.stderr.write('\n')
  return [
    {
      title: 'Until the first 200',
      method: `From the start of the process to the first completion, by the clock: a look at the key, at the limits and at the cache, and a call to the model. The plain server is one file, as \`npm run example\` builds it; the Function app is the one that \`npm run package\` packs, on the local host. The median of ${rounds} starts, in turn, in parentheses the least and the most. What a start takes beyond a bare app: [cold start](cold-start.md).`,
      tables: [
        {
          head: ['', ...checkouts.map(({ name }) => `${name}, ms`)],
          rows: [PLAIN, APP].map((what) => [
            what,
            ...checkouts.map(({ name }) =>
              withSpread(spread(starts.find((start) => start.what === what && start.checkout === name)?.ms ?? [])),
            ),
          ]),
        },
      ],
      findings: [],
      bars: [],
      must: [],
    },
  ]
}
