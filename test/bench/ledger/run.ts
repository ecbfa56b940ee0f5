/*
 * `npm run bench:ledger`: what the ledger adds to a hit, and writes docs/ledger-benchmark.md.
 * --quick: so short that the figures mean nothing. --out <folder>: where to write; with --quick, nothing is written without it.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Plugin } from 'esbuild'
import { ROOT, startHost } from '../../support/host.ts'
import { cpuTime } from '../cpu-time.ts'
import { bundlePortable, portable, writePolicy } from '../gateway/checkout.ts'
import { leaveSubjectItsCore, notPinned } from '../gateway/cores.ts'
import type { Started } from '../gateway/entrant.ts'
import { gateway } from '../gateway/gateway.ts'
import { otherWork } from '../gateway/other-work.ts'
import { HIT } from '../gateway/work.ts'
import { runLoad } from '../harness.ts'
import { machine } from '../machine.ts'
import { type Spread, spread } from '../statistics.ts'
import { runSections } from '../workbench/run-sections.ts'
import { percent, type Section } from '../workbench/section.ts'
import { bars, sectionText } from '../workbench/section-text.ts'
import { running, type Workbench } from '../workbench/workbench.ts'

const SERVERS = join(ROOT, 'test/bench/gateway/servers')
/** The bar, in microseconds. */
const MOST_US = 10
const CONNECTIONS = 16

/** The engine goes on compiling for some twenty seconds of load, and what writes must be compiled too. */
const WARM_UP_SECONDS = 21
/** After a turn's load: what was recorded is written within ten seconds, and that is a part of its cost. */
const WRITTEN_SECONDS = 11

/** Taken in and out by a signal. */
const SWITCH = 'SIGUSR2'
const SWITCHED: readonly { readonly file: RegExp; readonly before: string; readonly instead: string }[] = [
  // What is told of the request's end, and to whom.
  {
    file: /telemetry\/trace\.ts$/,
    before: 'const report = (outcome: Outcome, ended: Ended) => {',
    instead: 'const report = (outcome: Outcome, ended: Ended) => { if (globalThis.isOff) return',
  },
  // Its story: each step, how it was decided, and what it took.
  {
    file: /telemetry\/trace\.ts$/,
    before: 'const step = (name: StepName, decision: string, more?: Story) => {',
    instead: 'const step = (name: StepName, decision: string, more?: Story) => { if (globalThis.isOff) return',
  },
  {
    file: /usage\/ledger\.ts$/,
    before: 'export function ledger(',
    instead: `process.on('${SWITCH}', () => { globalThis.isOff = !globalThis.isOff })\nexport function ledger(`,
  },
]

/** The same gateway, whose ledger and stories can be switched off. @throws where the code to switch is not found */
const switchable: Plugin = {
  name: 'switchable ledger',
  setup({ onLoad }) {
    onLoad({ filter: /(?:telemetry\/trace|usage\/ledger)\.ts$/ }, ({ path }) => {
      let contents = readFileSync(path, 'utf8')
      for (const { file, before, instead } of SWITCHED) {
        if (!file.test(path)) continue
        if (!contents.includes(before)) throw new Error(`${path} has no '${before}'`)
        contents = contents.replace(before, () => instead)
      }
      return { loader: 'ts', contents }
    })
  },
}

interface Turns {
  readonly pairs: number
  readonly warmUpSeconds: number
  readonly loadSeconds: number
  readonly writtenSeconds: number
}

async function hits(bench: Workbench): Promise<readonly Section[]> {
  const { quick, folder, closing } = bench
  const [tables, model] = await Promise.all([
    running(bench, startHost({}, join(SERVERS, 'table-service.ts'), /tables at (\S+)/)),
    running(bench, startHost({}, join(SERVERS, 'model.ts'), /answers on (\S+)/)),
  ])
  const settings = { tables: tables.url, model: `${model.url}/v1`, policy: writePolicy(folder, { cache: true }) }
  const bundle = await bundlePortable({ name: 'switchable', root: ROOT }, folder, [switchable])
  const command = portable(bundle, settings, folder)
  const entrant = gateway({ name: 'gateway', command, tables: tables.url, work: HIT, holds: 'hit' })
  const started = await closing.add(entrant.start(CONNECTIONS), (each) => each.stop())
  const turns = quick
    ? { pairs: 1, warmUpSeconds: 0, loadSeconds: 0.5, writtenSeconds: 0 }
    : { pairs: 9, warmUpSeconds: WARM_UP_SECONDS, loadSeconds: 5, writtenSeconds: WRITTEN_SECONDS }
  const { on, off } = await inTurn(started, turns)
  const added = spread(on.map((us, pair) => us - (off[pair] ?? Number.NaN)))
  return [
    {
      title: 'What a hit costs with the ledger, and without',
      method: `The plain server of [the gateway's benchmark](gateway-benchmark.md), everything on, answers hits from its memory over ${CONNECTIONS} connections, each with a consumer of its own. It is one process, so that both halves of a pair run the same compiled code: a signal takes out of it all that is for the ledger alone (each request's story, the report of its end, packing and writing), and puts it back. After ${turns.warmUpSeconds} s of load come ${turns.pairs} pairs of turns, with and without in turn, the first of them changing from pair to pair. A turn is ${turns.loadSeconds} s of load and ${turns.writtenSeconds} s without, in which what was recorded is written to a stub of the table service. Figures are processor time of the process over all of the turn, user and system, for each request. The median, and in parentheses the least and the most.`,
      tables: [
        {
          head: ['', 'without ledger', 'with ledger', 'added by the ledger, in the same pair'],
          rows: [['processor time a hit, µs', micros(spread(off)), micros(spread(on)), micros(added)]],
        },
      ],
      findings: [],
      bars: quick
        ? []
        : [
            {
              what: 'The ledger adds to a hit',
              bar: `≤ ${MOST_US} µs`,
              figure: `${added.median.toFixed(1)} µs`,
              met: added.median <= MOST_US,
            },
          ],
      must: [],
    },
  ]
}

/** Microseconds of processor time a request, of each turn. */
async function inTurn(
  { pid, load, fill }: Started,
  turns: Turns,
): Promise<{ readonly on: number[]; readonly off: number[] }> {
  if (fill !== undefined) await runLoad('filled', { ...fill, seconds: 60, each: 1 })
  if (turns.warmUpSeconds > 0) await runLoad('warmed up', { ...load, seconds: turns.warmUpSeconds })
  await pause(turns.writtenSeconds)
  const measured = { on: [] as number[], off: [] as number[] }
  let isOn = true
  for (let pair = 0; pair < turns.pairs; pair += 1) {
    for (const wanted of pair % 2 === 0 ? [true, false] : [false, true]) {
      if (wanted !== isOn) process.kill(pid, SWITCH)
      isOn = wanted
      const before = cpuTime(pid) ?? Number.NaN
      const { requests } = await runLoad(isOn ? 'with ledger' : 'without', { ...load, seconds: turns.loadSeconds })
      await pause(turns.writtenSeconds)
      measured[isOn ? 'on' : 'off'].push((((cpuTime(pid) ?? Number.NaN) - before) * 1_000) / requests)
    }
    process.stderr.write('.')
  }
  process.stderr.write('\n')
  return measured
}

function pause(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1_000))
}

function micros({ median, least, most }: Spread): string {
  const [a, b, c] = [median, least, most].map((us) => us.toFixed(1))
  return `${a} (${b}–${c})`
}

leaveSubjectItsCore()
const others = otherWork()
const { sections, out } = await runSections({ hits })
const share = others()
const text = [
  '# What the ledger adds to a request',
  '',
  '`npm run bench:ledger` measures and writes this page (six minutes). Machines differ, and are noisy.',
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
