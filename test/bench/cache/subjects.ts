import type { RunningHost } from '../../support/host.ts'
import { noRedis, startRedis } from '../../support/redis.ts'
import { runLoad, type Subject } from '../harness.ts'
import { redisCommands } from '../limits/transaction-count.ts'
import { startWire } from '../limits/wire.ts'
import { running, type Workbench } from '../workbench/workbench.ts'
import {
  AMPLE,
  newConsumers,
  PLAN,
  startConstantApp,
  startGateway,
  startModel,
  startTables,
  writePolicy,
} from './gateway.ts'
import { type Nginx, noNginx, startNginx } from './nginx.ts'

const CONNECTIONS = 16
/** A connection whose answers are to be found by another gateway asks no longer than this for them. */
const FILL_SECONDS = 120

/** Two gateways over one store: what one has stored is for the other to find. */
export interface Pair {
  readonly first: RunningHost
  readonly second: RunningHost
}

/** All that is measured, running. */
export interface Rig {
  readonly keys: readonly string[]
  readonly constant: RunningHost
  readonly logging: RunningHost
  readonly uncached: RunningHost
  readonly tables: Pair
  /** `undefined` where this machine has none. */
  readonly redis: Pair | undefined
  readonly nginx: Nginx | undefined
  /** Calls of either store at the wire so far; always 0 where they are not counted. */
  storeCalls(): number
}

/**
 * @param wire puts something between the gateways and Table Storage, and says how it is reached and how many calls went by
 */
export async function startRig(
  bench: Workbench,
  wire?: (tables: string) => Promise<{ readonly tables: string; calls(): number }>,
): Promise<Rig> {
  const cached = writePolicy(bench.folder, 'cached', { plans: { [PLAN]: AMPLE } })
  const off = writePolicy(bench.folder, 'uncached', {
    plans: { [PLAN]: AMPLE },
    routes: { generate: { cache: false } },
  })
  const [azurite, model] = await Promise.all([running(bench, startTables()), running(bench, startModel('constant'))])
  const counted = await wire?.(azurite.url)
  const around = { tables: counted?.tables ?? azurite.url, model: model.url }
  const redisServer =
    noRedis === undefined ? await bench.closing.add(startRedis(), (redis) => redis.close()) : undefined
  const redisWire =
    redisServer === undefined || wire === undefined
      ? undefined
      : await bench.closing.add(startWire(redisServer.port, redisCommands), (passing) => passing.close())
  const redisUrl = redisWire === undefined ? redisServer?.url : `redis://127.0.0.1:${redisWire.port}`

  const gateway = (policy: string, redis?: string) => running(bench, startGateway({ ...around, redis }, policy))
  const pair = async (redis?: string): Promise<Pair> => {
    const [first, second] = await Promise.all([gateway(cached, redis), gateway(cached, redis)])
    return { first, second }
  }
  const named = Array.from({ length: CONNECTIONS }, (_, index) => ({ consumer: `bench-${index}`, plan: PLAN }))
  const keys = await newConsumers(azurite.url, named)
  const [constant, logging, uncached, tables, redis, nginx] = await Promise.all([
    running(bench, startConstantApp({ logs: false })),
    running(bench, startConstantApp({ logs: true })),
    gateway(off),
    pair(),
    redisUrl === undefined ? undefined : pair(redisUrl),
    noNginx === undefined
      ? bench.closing.add(startNginx({ keys, upstream: new URL(model.url).host }), (server) => server.close())
      : undefined,
  ])
  return {
    keys: keys.map(({ key }) => key),
    constant,
    logging,
    uncached,
    tables,
    redis,
    nginx,
    storeCalls: () => (counted?.calls() ?? 0) + (redisWire?.transactions() ?? 0),
  }
}

export const CONSTANT = 'constant Function app'
export const LOGGING = 'constant, with a log line'
export const OFF = 'cache off'
export const MISS = 'miss, stored'
export const HIT = 'hit, memory'
export const HIT_TABLES = 'hit, Table Storage'
export const HIT_REDIS = 'hit, Redis'
export const NGINX_HIT = 'NGINX, hit'
export const NGINX_MISS = 'NGINX, miss'

export interface SubjectOptions {
  /** Of the prompt. */
  readonly kib: number
  /** How many completions each connection finds in a shared store, in one round. */
  readonly each: number
}

/** How often one gateway has stored what another is to find. */
let fills = 0

/** What is measured with prompts of one length. */
export function subjectsOf(rig: Rig, { kib, each }: SubjectOptions): Subject[] {
  const withKeys = rig.keys.map((key) => ({ 'x-api-key': key }))
  const same = JSON.stringify({ prompt: promptOf(kib) })
  const other = JSON.stringify({ prompt: `{n} ${promptOf(kib)}` })
  const expect = (holds: string, header = 'cache-status') => ({ header, holds })
  const at = (url: string, body: string, headers: Subject['load']['headers'] = withKeys) => ({
    url: `${url}/api/generate`,
    method: 'POST',
    headers,
    body,
  })
  const processes = (pid: number | undefined) => ({ gateway: pid ?? 0 })
  const of = (host: RunningHost) => processes(host.process.pid)

  /** Every connection has asked before, so that no hit is a first miss. */
  function hits(name: string, url: string, pids: Subject['processes'], expected: Subject['load']['expect']): Subject {
    const load = at(url, same)
    return {
      name,
      load: { ...load, ...(expected === undefined ? {} : { expect: expected }) },
      processes: pids,
      prepare: async () => {
        await runLoad(name, { ...load, seconds: FILL_SECONDS, each: 1 })
        return {}
      },
    }
  }

  /** One gateway is asked what no other request asks; the other then finds each of these answers, once. */
  function sharedHits(name: string, { first, second }: Pair): Subject {
    return {
      name,
      load: { ...at(second.url, other), expect: expect('hit') },
      processes: of(second),
      prepare: async () => {
        fills += 1
        const again = { name: `${name} ${kib} ${fills} ${process.pid}`, each }
        const stored = { ...at(first.url, other), expect: expect('stored') }
        await runLoad(`${name}, the gateway before`, { ...stored, seconds: FILL_SECONDS, ...again })
        return again
      },
    }
  }

  const { constant, logging, uncached, tables, redis, nginx } = rig
  const anonymous = withKeys.map(() => ({}))
  return [
    { name: CONSTANT, load: at(constant.url, same, anonymous), processes: of(constant) },
    { name: LOGGING, load: at(logging.url, same, anonymous), processes: of(logging) },
    hits(HIT, tables.first.url, of(tables.first), expect('hit')),
    sharedHits(HIT_TABLES, tables),
    ...(redis === undefined ? [] : [sharedHits(HIT_REDIS, redis)]),
    { name: OFF, load: { ...at(uncached.url, other), expect: expect('bypass') }, processes: of(uncached) },
    {
      name: MISS,
      load: { ...at(tables.first.url, other), expect: expect('fwd=miss; stored') },
      processes: of(tables.first),
    },
    ...(nginx === undefined
      ? []
      : [
          hits(NGINX_HIT, nginx.url, processes(nginx.worker), expect('HIT', 'x-cache-status')),
          {
            name: NGINX_MISS,
            load: { ...at(nginx.url, other), expect: expect('MISS', 'x-cache-status') },
            processes: processes(nginx.worker),
          },
        ]),
  ]
}

const WORDS = 'The customer writes that the parcel has not come, and asks where it is and when it will be there. '

function promptOf(kib: number): string {
  const bytes = kib * 1024
  return WORDS.repeat(Math.ceil(bytes / WORDS.length)).slice(0, bytes)
}
