/*
 * `npm run bench:limits`: drives the limiter in several processes over real stores, and writes docs/limits-benchmark.md.
 * --quick: so short that only exactness is judged. --only <section>: that section, and the check of its pairs.
 * --out <folder>: where to write; with --quick or --only, nothing is written without it.
 * --hold <limiter>: holds a peer, too, to the promise that no limit is ever exceeded.
 * Ends with 1 where a limit was exceeded.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ROOT } from '../../support/host.ts'
import { chart, chartText } from './chart.ts'
import { exactness } from './exactness.ts'
import { GATES, type GateName, OURS } from './gates/gate.ts'
import { page } from './report.ts'
import type { Measure, Section } from './section.ts'
import { kill } from './sections/kill.ts'
import { latency } from './sections/latency.ts'
import { peers } from './sections/peers.ts'
import { retryAfter } from './sections/retry-after.ts'
import { transactions } from './sections/transactions.ts'
import { utilisation } from './sections/utilisation.ts'
import { startStores } from './stores.ts'
import { workbench } from './workbench.ts'

const CHART = 'benchmarks/limits.svg'

const SECTIONS: Readonly<Record<string, Measure>> = {
  transactions,
  latency,
  utilisation,
  'retry-after': retryAfter,
  kill,
  peers,
}

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    out: { type: 'string' },
    hold: { type: 'string' },
  },
})
const { quick, only } = values
if (only !== undefined && SECTIONS[only] === undefined) {
  throw new Error(`--only takes one of ${Object.keys(SECTIONS).join(', ')}`)
}
const held = values.hold === undefined ? [] : [gateOf(values.hold)]
const out = values.out ?? (quick || only !== undefined ? undefined : join(ROOT, 'docs'))

const stores = await startStores()
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void stores.close().finally(() => process.exit(1)))
}
try {
  const bench = workbench(stores, quick)
  const sections: Section[] = []
  for (const [name, measure] of Object.entries(SECTIONS)) {
    if (only === undefined || name === only) sections.push(await measure(bench))
  }
  const exact = exactness(bench.checks(), [...OURS, ...held])
  const compared = sections.flatMap((section) => section.compared ?? [])
  const most = Math.max(...compared.map(({ processes }) => processes))
  const shown = compared.filter(({ processes }) => processes === most)
  const text = page([exact, ...sections], shown.length === 0 ? undefined : { file: CHART, alt: chartText(shown) })
  console.log(text)
  if (out !== undefined) {
    mkdirSync(join(out, 'benchmarks'), { recursive: true })
    writeFileSync(join(out, 'limits-benchmark.md'), text)
    if (shown.length > 0) writeFileSync(join(out, CHART), chart(shown))
  }
  if (exact.bars.some(({ met }) => !met)) process.exitCode = 1
} finally {
  await stores.close()
}

function gateOf(name: string): GateName {
  const gate = GATES.find((each) => each === name)
  if (gate === undefined) throw new Error(`--hold takes one of ${GATES.join(', ')}`)
  return gate
}
