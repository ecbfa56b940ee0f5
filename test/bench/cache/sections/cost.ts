import { type Measured, measure, type Rounds } from '../../harness.ts'
import { withSpread } from '../../report.ts'
import { closing } from '../../workbench/closing.ts'
import { atMost, num, type Section } from '../../workbench/section.ts'
import type { Workbench } from '../../workbench/workbench.ts'
import { noNginx } from '../nginx.ts'
import { startCountedRig, storeCalls } from '../store-calls.ts'
import {
  CONSTANT,
  HIT,
  HIT_REDIS,
  HIT_TABLES,
  LOGGING,
  MISS,
  NGINX_HIT,
  NGINX_MISS,
  OFF,
  type Rig,
  startRig,
  subjectsOf,
} from '../subjects.ts'

/** Of prompts, in KiB. */
const SIZES = [1, 16, 64]
/** The most processor time that a hit from memory may take beyond a constant answer, at the shortest prompt. */
const MOST_MS = 0.1

/** The measured rows of one prompt length. */
interface Sized {
  readonly kib: number
  readonly measured: readonly Measured[]
}

export interface Cost {
  readonly sections: readonly Section[]
  /** For the chart: all rows at the shortest prompt. */
  readonly shortest: readonly Measured[]
}

/** What a hit and a miss cost, by where the answer is found and how long the prompt is; ours, and NGINX's. */
export async function cost(bench: Workbench): Promise<Cost> {
  const { quick } = bench
  const rounds: Rounds = quick
    ? { rounds: 1, seconds: 0.1, warmUpSeconds: 0 }
    : { rounds: 5, seconds: 4, warmUpSeconds: 3 }
  const each = quick ? 2 : 100
  const time = async (rig: Rig) => {
    const all: Sized[] = []
    for (const kib of SIZES) all.push({ kib, measured: await measure(subjectsOf(rig, { kib, each }), rounds) })
    return all
  }
  // What counts stands in the way: where the figures mean something, nothing is timed behind it.
  const [counted, sized] = quick
    ? await apart(bench, async (inner) => {
        const rig = await startCountedRig(inner)
        return [await storeCalls(rig, SIZES.slice(0, 1), 2), await time(rig)] as const
      })
    : [
        await apart(bench, async (inner) => storeCalls(await startCountedRig(inner), SIZES, 20)),
        await apart(bench, async (inner) => time(await startRig(inner))),
      ]

  const cpu = (name: string, kib = SIZES[0]) =>
    sized.find((its) => its.kib === kib)?.measured.find((row) => row.name === name)?.cpu.gateway?.median ?? Number.NaN
  const extra = (name: string, kib = SIZES[0]) => cpu(name, kib) - cpu(CONSTANT, kib)
  const rows = (names: (name: string) => boolean) =>
    sized.flatMap(({ kib, measured }) =>
      measured
        .filter(({ name }) => names(name))
        .map(({ name, requestsPerSecond, p50, p99, cpu }) => [
          `${kib} KiB`,
          name,
          withSpread(requestsPerSecond),
          withSpread(p50),
          withSpread(p99),
          cpu.gateway === undefined ? '' : withSpread(cpu.gateway),
          ...(isNginx(name)
            ? []
            : [
                name === CONSTANT ? '' : num(extra(name, kib)),
                name === CONSTANT || name === LOGGING ? '' : num(counted.get(kib)?.get(name) ?? Number.NaN),
              ]),
        ]),
    )
  const head = ['prompt', '', 'requests/s', 'median ms', '99th ms']
  const turns = `The median of ${rounds.rounds} rounds, in parentheses the least and the most. A round is ${rounds.seconds} s of each row in turn, after a warm-up of ${rounds.warmUpSeconds} s each. Processor time is the operating system's count for the process.`

  const ours: Section = {
    title: 'What a hit and a miss cost',
    method: `16 connections, each sending its next request when the last one is answered, each with a consumer of its own; the answer always has about 1 KiB. Store calls are those of Table Storage and Redis together, for one request, counted at the wire in a run apart: leases of limits are among them, and what a gateway asks by time and not by request.

- **${CONSTANT}**: reads the same body and answers as many bytes, on the same host: what the host and the Functions library cost.
- **${LOGGING}**: writes one line as long as the gateway's own.
- **${HIT}**: key, limit (leased from Table Storage), and the answer from this process's memory.
- **${HIT_TABLES}**, **${HIT_REDIS}**: the answer was stored by another process, and this one is asked for it once. With Redis the limits are counted there too.
- **${OFF}**: \`cache: false\`; every request goes to the model, which answers at once.
- **${MISS}**: prompts that nobody asked before, on tables.

${turns} Tables are Azurite's and the model is a stub, each in a process of its own on the same machine: so read the **processor time** as the cost, and latency as this machine's.`,
    tables: [
      {
        head: [...head, 'gateway: CPU ms/request', 'beyond the constant answer', 'store calls a request'],
        rows: rows((name) => !isNginx(name)),
      },
    ],
    findings: [
      `A hit from memory takes ${num(extra(HIT) * 1000)} µs of processor time more than the constant answer, with a prompt of ${SIZES[0]} KiB; the bar is ${MOST_MS * 1000} µs: ${extra(HIT) <= MOST_MS ? 'met' : 'not met'}. ${num(extra(LOGGING) * 1000)} µs of it are what this host takes to write a line of log, which the constant answer has none of.`,
      ...SIZES.slice(1).map(
        (kib) =>
          `With a prompt of ${kib} KiB it takes ${num(extra(HIT, kib) * 1000)} µs more than the constant answer, which reads the same prompt.`,
      ),
      `A hit from Table Storage takes ${num(cpu(HIT_TABLES))} ms of processor time${Number.isNaN(cpu(HIT_REDIS)) ? '' : `, from Redis ${num(cpu(HIT_REDIS))} ms`}; a miss takes ${num(cpu(MISS))} ms, of which ${num(cpu(OFF))} ms are there without a cache, too.`,
    ],
    bars: quick
      ? []
      : [atMost('processor time of a hit from memory beyond the constant answer, 1 KiB', extra(HIT), MOST_MS, ' ms')],
    must: [],
  }
  const beside: Section = {
    title: 'Beside NGINX',
    method:
      noNginx === undefined
        ? `The same load on NGINX with its Lua module, as [nginx.conf](../test/bench/cache/nginx.conf) has it: one worker; the consumer by a map of keys, \`limit_req\` for each key and for all, \`proxy_cache\` on POST by consumer, path and the body's MD5, and the same stub behind it. It was measured in turn with the rows above. NGINX does less: its limits are this one instance's, it counts no tokens and no money, it takes other spellings of the same JSON for other questions, and it passes the model's answer on without having read it.`
        : `Left out: ${noNginx}.`,
    tables: noNginx === undefined ? [{ head: [...head, 'worker: CPU ms/request'], rows: rows(isNginx) }] : [],
    findings:
      noNginx === undefined
        ? SIZES.map(
            (kib) =>
              `With a prompt of ${kib} KiB, a hit takes NGINX ${num(cpu(NGINX_HIT, kib))} ms of processor time and the gateway ${num(cpu(HIT, kib))} ms; a miss ${num(cpu(NGINX_MISS, kib))} ms and ${num(cpu(MISS, kib))} ms.`,
          )
        : [],
    bars: [],
    must: [],
  }
  return { sections: [ours, beside], shortest: sized[0]?.measured ?? [] }
}

function isNginx(name: string): boolean {
  return name === NGINX_HIT || name === NGINX_MISS
}

/** With processes that end before others begin: the machine has few processors. */
async function apart<T>(bench: Workbench, work: (inner: Workbench) => Promise<T>): Promise<T> {
  const inner = await bench.closing.add(Promise.resolve(closing()), (each) => each.close())
  try {
    return await work({ ...bench, closing: inner })
  } finally {
    await inner.close()
  }
}
