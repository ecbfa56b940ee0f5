/*
 * `npm run bench:ledger`: what the ledger adds to a hit, and writes docs/ledger-benchmark.md.
 * --quick: so short that the figures mean nothing. --out <folder>: where to write; with --quick, nothing is written without it.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Plugin } from 'esbuild'
import { ROOT, startHost } from '../../support/host.ts'
import { bundlePortable, portable, writePolicy } from '../gateway/checkout.ts'
import { leaveSubjectItsCore, notPinned } from '../gateway/cores.ts'
import { gateway } from '../gateway/gateway.ts'
import { measure } from '../gateway/measure.ts'
import { otherWork } from '../gateway/other-work.ts'
import { HIT } from '../gateway/work.ts'
import { machine } from '../machine.ts'
import type { Spread } from '../statistics.ts'
import { runSections } from '../workbench/run-sections.ts'
import { percent, type Section } from '../workbench/section.ts'
import { bars, sectionText } from '../workbench/section-text.ts'
import { running, type Workbench } from '../workbench/workbench.ts'

const SERVERS = join(ROOT, 'test/bench/gateway/servers')
/** The bar, in microseconds. */
const MOST_US = 10
const CONNECTIONS = 16
/** Longer than the ten seconds after which what was recorded is written: so the writing falls into the turn. */
const TURN_SECONDS = 11

/** Two writings, whose code is compiled then too: the engine goes on compiling for some twenty seconds of load. */
const WARM_UP_SECONDS = 21

/** The same gateway whose ledger does nothing. */
const withoutLedger: Plugin = {
  name: 'without ledger',
  setup({ onLoad }) {
    onLoad({ filter: /usage\/ledger\.ts$/ }, () => ({
      loader: 'ts',
      contents: `
        export const FLUSH_MS = 0
        export const ledger = () => ({ record() {}, flush: async () => {}, close: async () => {} })
      `,
    }))
  },
}

async function hits(bench: Workbench): Promise<readonly Section[]> {
  const { quick, folder, closing } = bench
  const [tables, model] = await Promise.all([
    running(bench, startHost({}, join(SERVERS, 'table-service.ts'), /tables at (\S+)/)),
    running(bench, startHost({}, join(SERVERS, 'model.ts'), /answers on (\S+)/)),
  ])
  const settings = { tables: tables.url, model: `${model.url}/v1`, policy: writePolicy(folder, { cache: true }) }
  const entrant = async (name: string, plugins: readonly Plugin[]) => {
    const bundle = await bundlePortable({ name: name.replaceAll(' ', '-'), root: ROOT }, folder, plugins)
    return gateway({ name, command: portable(bundle, settings, folder), tables: tables.url, work: HIT, holds: 'hit' })
  }
  const floor = await entrant('without ledger', [withoutLedger])
  const ledger = await entrant('with ledger', [])
  const contest = { what: 'hit', connections: CONNECTIONS, floor, others: [ledger] }
  const rounds = quick
    ? { rounds: 1, warmUpSeconds: 0, turns: 1, turnSeconds: 0.5 }
    : { rounds: 9, warmUpSeconds: WARM_UP_SECONDS, turns: 2, turnSeconds: TURN_SECONDS }
  const outcome = (await measure([contest], rounds, closing)).get(contest)
  const [before, after] = [outcome?.get(floor.name), outcome?.get(ledger.name)]
  if (before === undefined || after === undefined) throw new Error('Nothing was measured')
  const added = after.added.median * 1_000
  return [
    {
      title: 'What a hit costs with the ledger, and without',
      method: `The plain server of [the gateway's benchmark](gateway-benchmark.md), everything on, answers hits from its memory over ${CONNECTIONS} connections, each with a consumer of its own. Beside it runs the same server whose ledger does nothing. In each of ${rounds.rounds} rounds both are fresh processes, warmed up for ${rounds.warmUpSeconds} s and loaded ${rounds.turns} times for ${rounds.turnSeconds} s, in turn. Figures are processor time of the process, user and system, and all that the ledger does is in it: packing rows, and writing segments every ten seconds to a stub of the table service. The median, and in parentheses the least and the most.`,
      tables: [
        {
          head: ['', 'without ledger', 'with ledger', 'added by the ledger, in the same round'],
          rows: [['processor time a hit, µs', micros(before.cpu), micros(after.cpu), micros(after.added)]],
        },
      ],
      findings: [],
      bars: quick
        ? []
        : [
            {
              what: 'The ledger adds to a hit',
              bar: `≤ ${MOST_US} µs`,
              figure: `${added.toFixed(1)} µs`,
              met: added <= MOST_US,
            },
          ],
      must: [],
    },
  ]
}

function micros({ median, least, most }: Spread): string {
  const [a, b, c] = [median, least, most].map((ms) => (ms * 1_000).toFixed(1))
  return `${a} (${b}–${c})`
}

leaveSubjectItsCore()
const others = otherWork()
const { sections, out } = await runSections({ hits })
const share = others()
const text = [
  '# What the ledger adds to a request',
  '',
  '`npm run bench:ledger` measures and writes this page (a quarter of an hour). Machines differ, and are noisy.',
  '',
  ...bars(sections.flatMap((section) => section.bars)),
  ...sections.flatMap(sectionText),
  `Measured on ${machine()}${notPinned === undefined ? '' : `; no processor was set apart, since ${notPinned}`}.${share === undefined ? '' : ` Other processes took ${percent(share)} of its processors meanwhile.`}`,
  '',
].join('\n')
console.log(text)
if (out !== undefined) {
  mkdirSync(out, { recursive: true })
  writeFileSync(join(out, 'ledger-benchmark.md'), text)
}
