import { once } from 'node:events'
import type { RunningHost } from '../../../support/host.ts'
import { type Bar, exactly, num, percent, type Section } from '../../workbench/section.ts'
import { running, type Workbench } from '../../workbench/workbench.ts'
import { askAll } from '../desk/ask-all.ts'
import { requestLines, sumOf } from '../desk/log-lines.ts'
import { type Asked, deskTrace, type TraceOptions } from '../desk/trace.ts'
import { type DeskUsage, deskUsage } from '../desk/usage.ts'
import { AMPLE, newConsumers, startGateway, startModel, startTables, writePolicy } from '../gateway.ts'
import { forgetCalls, modelCalls } from '../model-calls.ts'

const SCOPES = ['consumer', 'plan', 'shared'] as const
type Scope = (typeof SCOPES)[number]

const PLANS = ['retail', 'trade']
const AT_A_TIME = 16
/** US dollars for a million tokens. */
const PRICE = { input: 2.5, output: 10 }

/** What stands before every question: some 400 tokens, as such instructions have. */
const SYSTEM =
  `You answer customers of a shop for household electronics. ${'Be brief and friendly, name the page of the help centre that has more, never promise a refund or a date, and pass on to a colleague what is about money, law or safety. '.repeat(10)}`.trim()

/** What one scope came to. */
interface Outcome {
  readonly scope: Scope
  readonly requests: number
  /** By the gateway's log lines: found in the cache, or answered by another's call that was under way. */
  readonly hits: number
  readonly collapsed: number
  readonly spared: DeskUsage
  readonly sparedNanoUsd: number
  readonly costNanoUsd: number
  /** By the model's own count. */
  readonly calls: number
  readonly used: DeskUsage
  /** As many calls as there are questions that differ, to those who share answers. */
  readonly leastCalls: number
}

/** What is hit, and spared, where questions come as they come to a help desk. */
export async function desk(bench: Workbench): Promise<readonly Section[]> {
  const options: TraceOptions = {
    requests: bench.quick ? 300 : 20_000,
    questions: bench.quick ? 50 : 2_000,
    consumers: 8,
    exponent: 1,
    variantShare: 0.15,
    seed: 1,
  }
  const trace = deskTrace(options)
  const outcomes = await outcomesOf(bench, trace)
  const all = total(trace.map(({ text }) => deskUsage([SYSTEM, text])))
  const oneSpelling = new Set(trace.map(({ question }) => question)).size
  const shared = outcomes.find(({ scope }) => scope === 'shared')
  const dollars = (nanoUsd: number) => `$${(nanoUsd / 1e9).toFixed(2)}`
  return [
    {
      title: 'A day at a help desk',
      method: `${num(options.requests)} requests, ${AT_A_TIME} at a time, over ${num(options.questions)} questions, of which the one of rank r is asked in proportion to 1/r (Zipf), by ${options.consumers} consumers in ${PLANS.length} plans, all equally often. ${percent(options.variantShare)} of the requests write the question in another of three ways (lower case; two spaces; a line break at its end): a prompt is cached by its exact text, so these are other prompts. Each request has the same instructions of ${num(SYSTEM.length)} characters before it. The trace is made up, and the same for each scope (\`routes.generate.cache.scope\`); completions live longer than the run. Input costs $${PRICE.input.toFixed(2)} and output $${PRICE.output.toFixed(2)} for a million tokens. "Spared" is the sum of \`spared\` and \`sparedNanoUsd\` on the gateway's own log lines, and calls are counted by the model's server. "Least calls" is how many different prompts there are for those who share answers: nobody could ask less often.`,
      tables: [
        {
          head: [
            'scope',
            'answered without a call',
            'of these, while the call was under way',
            'calls',
            'least calls',
            'tokens spared (input, output)',
            'spent',
            'spared',
          ],
          rows: outcomes.map(
            ({ scope, requests, hits, collapsed, calls, leastCalls, spared, costNanoUsd, sparedNanoUsd }) => [
              scope,
              percent((hits + collapsed) / requests),
              num(collapsed),
              num(calls),
              num(leastCalls),
              `${num(spared.input)}, ${num(spared.output)}`,
              dollars(costNanoUsd),
              dollars(sparedNanoUsd),
            ],
          ),
        },
      ],
      findings: [
        ...outcomes.map(
          ({ scope, requests, hits, collapsed, costNanoUsd, sparedNanoUsd }) =>
            `Scope ${scope}: ${percent((hits + collapsed) / requests)} of the requests make no call, which spares ${percent(sparedNanoUsd / (sparedNanoUsd + costNanoUsd))} of the money.`,
        ),
        `If all ways to write a question were one prompt, ${num(oneSpelling)} calls would do where answers are shared, instead of ${num(shared?.leastCalls ?? Number.NaN)}.`,
      ],
      bars: [],
      must: outcomes.flatMap((outcome) => checksOf(outcome, all)),
    },
  ]
}

/** The gateway's log against the model's own count, and both against the trace. */
function checksOf(
  { scope, requests, hits, collapsed, calls, leastCalls, spared, used, ...money }: Outcome,
  all: DeskUsage,
): Bar[] {
  const nanoUsd = ({ input, output }: DeskUsage) => Math.round((input * PRICE.input + output * PRICE.output) * 1000)
  return [
    exactly(`scope ${scope}: calls of the model, against the prompts that differ`, calls, leastCalls),
    exactly(
      `scope ${scope}: requests that the log says made no call, and calls of the model, together`,
      hits + collapsed + calls,
      requests,
    ),
    exactly(
      `scope ${scope}: input tokens spared by the log, and counted by the model, together`,
      spared.input + used.input,
      all.input,
    ),
    exactly(`scope ${scope}: output tokens, the same`, spared.output + used.output, all.output),
    exactly(`scope ${scope}: nano-dollars spared, by the log`, money.sparedNanoUsd, nanoUsd(spared)),
    exactly(
      `scope ${scope}: nano-dollars spent, by the log, against the model's count`,
      money.costNanoUsd,
      nanoUsd(used),
    ),
  ]
}

async function outcomesOf(bench: Workbench, trace: readonly Asked[]): Promise<Outcome[]> {
  const [tables, model] = await Promise.all([running(bench, startTables()), running(bench, startModel('desk'))])
  const consumers = [...new Set(trace.map(({ consumer }) => consumer))].toSorted((a, b) => a - b)
  const keys = await newConsumers(
    tables.url,
    consumers.map((consumer) => ({ consumer: `desk-${consumer}`, plan: planOf(consumer) })),
  )
  const keyOf = new Map(consumers.map((consumer, index) => [consumer, keys[index]?.key ?? '']))
  const questions = trace.map(({ consumer, text }) => ({
    key: keyOf.get(consumer) ?? '',
    body: JSON.stringify({ prompt: text, system: SYSTEM }),
  }))
  const outcomes: Outcome[] = []
  for (const scope of SCOPES) {
    const policy = writePolicy(bench.folder, `desk-${scope}`, {
      plans: Object.fromEntries(PLANS.map((plan) => [plan, AMPLE])),
      models: { default: { price: PRICE } },
      routes: { generate: { cache: { ttl: '1h', scope } } },
    })
    const gateway = await running(bench, startGateway({ tables: tables.url, model: model.url }, policy))
    await forgetCalls(model)
    await askAll(gateway.url, questions, AT_A_TIME)
    const lines = requestLines(await lastWords(gateway))
    const { calls, input, output } = await modelCalls(model)
    outcomes.push({
      scope,
      requests: trace.length,
      hits: lines.filter(({ cache }) => cache === 'hit').length,
      collapsed: lines.filter(({ cache }) => cache === 'collapsed').length,
      spared: {
        input: sumOf(lines, ({ spared }) => spared?.input),
        output: sumOf(lines, ({ spared }) => spared?.output),
      },
      sparedNanoUsd: sumOf(lines, ({ sparedNanoUsd }) => sparedNanoUsd),
      costNanoUsd: sumOf(lines, ({ costNanoUsd }) => costNanoUsd),
      calls,
      used: { input, output },
      leastCalls: new Set(trace.map((asked) => `${sharers(scope, asked.consumer)} ${asked.text}`)).size,
    })
  }
  return outcomes
}

function planOf(consumer: number): string {
  return PLANS[consumer % PLANS.length] ?? ''
}

function sharers(scope: Scope, consumer: number): string {
  if (scope === 'consumer') return `${consumer}`
  return scope === 'plan' ? planOf(consumer) : ''
}

/** All that a host has printed until its end. */
async function lastWords(host: RunningHost): Promise<string> {
  const closed = once(host.process, 'close')
  await host.stop()
  await closed
  return host.output()
}

function total(usages: readonly DeskUsage[]): DeskUsage {
  return {
    input: usages.reduce((sum, { input }) => sum + input, 0),
    output: usages.reduce((sum, { output }) => sum + output, 0),
  }
}
