import { join } from 'node:path'
import { ROOT, startHost } from '../../../support/host.ts'
import { noRedis, startRedis } from '../../../support/redis.ts'
import type { Section } from '../../workbench/section.ts'
import { running, type Workbench } from '../../workbench/workbench.ts'
import { bundlePortable, type Checkout, type GatewaySettings, portable, writePolicy } from '../checkout.ts'
import { type Entrant, tryOut } from '../entrant.ts'
import { bareHttp, bareProxy } from '../floors.ts'
import { type GatewayEntrant, gateway, type Surface } from '../gateway.ts'
import { type Contest, measure } from '../measure.ts'
import { installPortkey, PORTKEY, portkey } from '../portkey.ts'
import { barsOf, type Judged, pathTable, roundsOf } from '../tables.ts'
import { CALL, HIT, STREAM, type Work } from '../work.ts'

const SERVERS = join(ROOT, 'test/bench/gateway/servers')
const CONNECTIONS = [1, 16]
const STREAMING = 64
const QUICK = 4

const STORED = 'fwd=miss; stored'
const CHAT: Surface = 'chat completions'
const IN_REDIS = 'miss, stored in Redis'

interface Kind extends Judged, Omit<Contest, 'connections'> {
  readonly connections?: readonly number[]
}

/** What a request costs on each way through the gateway, beside the least that could do the same. */
export async function paths(bench: Workbench, checkouts: readonly Checkout[]): Promise<readonly Section[]> {
  const { quick, folder, closing } = bench
  const [tables, model] = await Promise.all([
    running(bench, startHost({}, join(SERVERS, 'table-service.ts'), /tables at (\S+)/)),
    running(bench, startHost({}, join(SERVERS, 'model.ts'), /answers on (\S+)/)),
  ])
  const redis = noRedis === undefined ? await closing.add(startRedis(), (server) => server.close()) : undefined
  const bundles = await Promise.all(
    checkouts.map(async (checkout) => ({ checkout, bundle: await bundlePortable(checkout, folder) })),
  )
  const cached = writePolicy(folder, { cache: true })
  const uncached: Readonly<Record<Surface, string>> = {
    generate: writePolicy(folder, { cache: false }),
    'chat completions': writePolicy(folder, { cache: false, route: 'chat' }),
  }
  const [plain, apart] = [`${model.url}/v1`, `${model.url}/apart/v1`]
  const noPortkey = quick ? 'left out of a quick run' : installPortkey()
  const notRun = [
    ...(noPortkey === undefined ? [] : [`${PORTKEY}: ${noPortkey}`]),
    ...(noRedis === undefined ? [] : [`${IN_REDIS}: ${noRedis}`]),
  ]

  function gateways(
    work: Work,
    holds: GatewayEntrant['holds'],
    { surface = 'generate', ...settings }: Omit<GatewaySettings, 'tables'> & { readonly surface?: Surface },
  ): Entrant[] {
    return bundles.map(({ checkout: { name }, bundle }) => {
      const command = portable(bundle, { tables: tables.url, ...settings }, folder)
      return gateway({ name, command, tables: tables.url, work, surface, holds })
    })
  }

  /** Those that can do it; why another can't is told. */
  async function able(what: string, entrants: readonly Entrant[]): Promise<Entrant[]> {
    const found: Entrant[] = []
    for (const entrant of entrants) {
      try {
        await tryOut(entrant)
        found.push(entrant)
      } catch (error) {
        notRun.push(`${what}, ${entrant.name}: ${(error as Error).message}`)
      }
    }
    return found
  }

  /** A request that goes to the model, and its answer back. */
  const passing = async (what: string, most: number, work: Work, url: string, surface: Surface = 'generate') => {
    const entrants = gateways(work, 'bypass', { policy: uncached[surface], model: url, surface })
    return {
      what,
      most,
      floor: bareProxy(work, url, folder),
      others: [
        ...(await able(what, noPortkey === undefined ? [portkey(work, url, folder)] : [])),
        // A checkout that this one is compared to may have this surface not yet.
        ...(surface === 'generate' ? entrants : await able(what, entrants)),
      ],
    }
  }
  const answering = { policy: cached, model: plain }
  const streamed = [quick ? QUICK : STREAMING]
  const kinds: readonly Kind[] = [
    { what: 'hit', most: 4, floor: bareHttp(folder), others: gateways(HIT, 'hit', answering) },
    await passing('call, cache off', 3.5, CALL, plain),
    {
      what: 'miss, stored in tables',
      most: 14,
      floor: bareProxy(CALL, plain, folder),
      others: gateways(CALL, STORED, answering),
    },
    {
      what: IN_REDIS,
      most: 7,
      floor: bareProxy(CALL, plain, folder),
      others:
        redis === undefined ? [] : await able(IN_REDIS, gateways(CALL, STORED, { ...answering, redis: redis.url })),
    },
    await passing('stream, in one piece', 3.4, STREAM, plain),
    { ...(await passing('stream, events 5 ms apart', 1.7, STREAM, apart)), connections: streamed },
    {
      what: 'chat completion, hit',
      most: 4,
      floor: bareHttp(folder),
      others: await able('chat completion, hit', gateways(HIT, 'hit', { ...answering, surface: CHAT })),
    },
    await passing('chat completion, cache off', 3.5, CALL, plain, CHAT),
    await passing('chat stream, in one piece', 3.4, STREAM, plain, CHAT),
    { ...(await passing('chat stream, events 5 ms apart', 1.7, STREAM, apart, CHAT)), connections: streamed },
  ]
  const contests = kinds
    .filter(({ others }) => others.length > 0)
    .flatMap(({ connections = quick ? [QUICK] : CONNECTIONS, ...kind }) =>
      connections.map((each) => ({ ...kind, connections: each })),
    )
  const rounds = roundsOf(quick)
  const measured = await measure(contests, rounds, closing)
  return [
    {
      title: 'In a plain server of Node’s',
      method: `The library in a \`node:http\` server ([examples/portable](../examples/portable)), everything on: a key, limits on requests and on the model's requests, a budget in money, the cache, single flight, and a line of log for each request, to a file. Prompt and completion have 1 KiB each, a stream has 22 events. Every connection has a consumer of its own and sends its next request when the last one is answered.

- **hit**: the answer from the process's memory, beside a server of Node's that reads the request and answers with a constant.
- **call**, **stream**: without a cache, beside a proxy of as few lines as pass a request on by undici, and an answer or a stream back as it comes; and beside [Portkey's gateway](https://www.npmjs.com/package/@portkey-ai/gateway), which is asked for no more than to pass it on: it has no keys, limits, budgets or cache of its own in this form.
- **chat completion**, **chat stream**: the same as OpenAI's clients ask it, by \`POST /v1/chat/completions\`; the others above are asked by \`/api/generate\`.
- **miss**: what nobody asked before, looked up in the store, called for, and stored. Counters, keys and completions are on a stub of the table service, in memory, or counters and completions on Redis. Azurite would keep the load waiting, and a waiting process makes the same work dearer.

What is measured has one processor to itself; load, model and stores share the others. Figures are processor time a request, user and system, as the operating system counts it for the process; a ratio is to the floor in the same round. The median of ${rounds.rounds} rounds, of ratios in parentheses the least and the most. In each round every process is a fresh one, warmed up for ${rounds.warmUpSeconds} s and then loaded ${rounds.turns} times for ${rounds.turnSeconds} s, in turn with those that it is compared to. A younger process costs more: in its first two seconds, in which V8 compiles what it runs often, about twice as much. Bars are for ${CONNECTIONS.at(-1)} connections, and ${STREAMING} where events come apart.`,
      tables: [pathTable(measured, checkouts, noPortkey === undefined ? PORTKEY : undefined)],
      findings: notRun.map((text) => `Not run: ${text.replaceAll(/\s+/g, ' ')}`),
      bars: quick
        ? []
        : barsOf(
            measured,
            contests.filter(({ connections }) => connections > 1),
          ),
      must: [],
    },
  ]
}
