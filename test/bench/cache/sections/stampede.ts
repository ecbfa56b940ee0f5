import type { RunningHost } from '../../../support/host.ts'
import { generate } from '../../../support/host.ts'
import { noRedis, startRedis } from '../../../support/redis.ts'
import { type Bar, exactly, num, type Section } from '../../workbench/section.ts'
import { running, type Workbench } from '../../workbench/workbench.ts'
import { type BurstResult, burst } from '../burst.ts'
import { AMPLE, newConsumers, PLAN, startGateway, startModel, startTables, writePolicy } from '../gateway.ts'
import { forgetCalls, modelCalls, setFailing } from '../model-calls.ts'

/** Gateways over one store. */
interface Fleet {
  readonly cache: string
  readonly gateways: readonly RunningHost[]
}

/** Whether the processes had missed the key before: only then does one wait for another's answer. */
type Before = 'asked for the first time' | 'missed before'

interface Trial extends BurstResult {
  readonly cache: string
  readonly processes: number
  readonly before: Before
  readonly calls: number
}

const OFF = 'off'

/** What becomes of many who ask the same at once. */
export async function stampede(bench: Workbench): Promise<readonly Section[]> {
  const { quick } = bench
  const requests = quick ? 80 : 1_000
  const latencyMs = quick ? 500 : 2_000
  const processes = 4
  const [tables, model] = await Promise.all([
    running(bench, startTables()),
    running(bench, startModel('constant', latencyMs)),
  ])
  const redis = noRedis === undefined ? await bench.closing.add(startRedis(), (server) => server.close()) : undefined
  const [consumer] = await newConsumers(tables.url, [{ consumer: 'crowd', plan: PLAN }])
  const key = consumer?.key ?? ''
  const cached = writePolicy(bench.folder, 'stampede', { plans: { [PLAN]: AMPLE } })
  const off = writePolicy(bench.folder, 'stampede-off', {
    plans: { [PLAN]: AMPLE },
    routes: { generate: { cache: false } },
  })

  async function fleet(cache: string, policy: string, redis?: string): Promise<Fleet> {
    const around = { tables: tables.url, model: model.url, redis }
    const gateways = Array.from({ length: processes }, () => running(bench, startGateway(around, policy)))
    return { cache, gateways: await Promise.all(gateways) }
  }

  let asked = 0
  async function trial({ cache, gateways }: Fleet, count: number, before: Before): Promise<Trial> {
    const used = gateways.slice(0, count)
    asked += 1
    const body = JSON.stringify({ prompt: `Is it open today? (${asked})` })
    // So that no process looks up the key, or leases its limit, for the first time.
    for (const gateway of used) await generate(gateway, JSON.stringify({ prompt: 'Hello?' }), { 'x-api-key': key })
    if (before === 'missed before') {
      await setFailing(model, true)
      for (const gateway of used) await generate(gateway, body, { 'x-api-key': key })
      await setFailing(model, false)
    }
    await forgetCalls(model)
    const urls = used.map(({ url }) => url)
    const result = await burst(urls, requests / count, { key, body })
    return { ...result, cache, processes: count, before, calls: (await modelCalls(model)).calls }
  }

  const trials: Trial[] = []
  const stores = [
    { cache: 'Table Storage', redis: undefined },
    ...(redis === undefined ? [] : [{ cache: 'Redis', redis: redis.url }]),
  ]
  for (const store of stores) {
    const its = await fleet(store.cache, cached, store.redis)
    trials.push(await trial(its, 1, 'asked for the first time'))
    trials.push(await trial(its, processes, 'missed before'))
    trials.push(await trial(its, processes, 'asked for the first time'))
    for (const gateway of its.gateways) await gateway.stop('SIGKILL')
  }
  const without = await fleet(OFF, off)
  trials.push(await trial(without, 1, 'asked for the first time'))
  trials.push(await trial(without, processes, 'asked for the first time'))

  return [
    {
      title: 'Many who ask the same at once',
      method: `${num(requests)} identical requests of one consumer, sent at the same moment over as many open connections, to one process or to ${processes} that share a store; the model takes ${num(latencyMs)} ms for each answer. One process calls the model once, however many ask. Among processes, claiming a prompt costs a write, which a prompt that is asked for once would pay in vain: so it is done where the process has missed the same prompt before (here because the model failed then), and else each process calls once at most.`,
      tables: [
        {
          head: [
            'cache',
            'processes',
            'the prompt',
            'requests',
            'calls of the model',
            'answered',
            'first answer, ms',
            'last answer, ms',
          ],
          rows: trials.map(({ cache, processes, before, requests, calls, answered, firstMs, lastMs, faults }) => [
            cache,
            `${processes}`,
            before,
            num(requests),
            num(calls),
            `${num(answered)}${faults.length === 0 ? '' : ` (${faults.join(', ')})`}`,
            num(firstMs),
            num(lastMs),
          ]),
        },
      ],
      findings: trials.map(
        ({ cache, processes, before, requests, calls, lastMs }) =>
          `${cache === OFF ? 'Without a cache' : `With ${cache}`}, ${processes === 1 ? '1 process' : `${processes} processes`}, ${before}: ${num(requests)} requests make ${num(calls)} ${calls === 1 ? 'call' : 'calls'}; all are answered after ${num(lastMs / 1000)} s.`,
      ),
      bars: [],
      must: trials.flatMap(checksOf),
    },
  ]
}

function checksOf({ cache, processes, before, requests, answered, calls }: Trial): Bar[] {
  if (cache === OFF) return []
  const what = `${cache}, ${processes === 1 ? '1 process' : `${processes} processes`}, ${before}`
  const most = processes === 1 || before === 'missed before' ? 1 : processes
  return [
    most === 1
      ? exactly(`calls of the model in a stampede: ${what}`, calls, 1)
      : { what: `calls of the model in a stampede: ${what}`, bar: `≤ ${most}`, figure: num(calls), met: calls <= most },
    exactly(`answers in a stampede: ${what}`, answered, requests),
  ]
}
