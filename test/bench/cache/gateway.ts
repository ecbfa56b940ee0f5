import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { newKey } from '../../support/consumers.ts'
import { BARE_HOST, ROOT, type RunningHost, startHost } from '../../support/host.ts'
import { openAccount } from '../../support/tables.ts'

const SERVERS = join(ROOT, 'test/bench/cache/servers')

/** The plan of all consumers that are given none. Its limit is counted on every request and never reached. */
export const PLAN = 'bench'
export const AMPLE = { limits: [{ requests: 1_000_000, per: '1m' }] }

/** What the gateways of one bench share. */
export interface Surroundings {
  /** A connection string. */
  readonly tables: string
  /** The model's base URL, without `/v1`. */
  readonly model: string
  /** Where completions and counters live instead. */
  readonly redis?: string | undefined
}

/** A gateway in a process of its own. @param policy the path of its policy */
export async function startGateway({ tables, model, redis }: Surroundings, policy: string): Promise<RunningHost> {
  return startHost(
    {
      TOLLGATE_STORAGE: tables,
      ...(redis === undefined ? {} : { TOLLGATE_REDIS: redis }),
      TOLLGATE_POLICY: policy,
      // The defaults would make a slow moment of Azurite's a miss that is not stored, or a refusal.
      TOLLGATE_CACHE_DEADLINE_MS: '5000',
      TOLLGATE_STORE_DEADLINE_MS: '10000',
      OPENAI_BASE_URL: `${model}/v1`,
      OPENAI_API_KEY: 'none',
    },
    BARE_HOST,
  )
}

/** Azurite, in a process of its own; its URL is the connection string. */
export async function startTables(): Promise<RunningHost> {
  return startHost({}, join(ROOT, 'test/bench/servers/azurite.ts'), /tables at (\S+)/)
}

/** A model's server, in a process of its own. */
export async function startModel(name: 'constant' | 'desk', latencyMs = 0): Promise<RunningHost> {
  return startHost({ LATENCY_MS: String(latencyMs) }, join(SERVERS, `${name}-model.ts`), /answers on (\S+)/)
}

/** A Function app that answers as the gateway does, and does nothing else, unless it is to write a line of log for each. */
export async function startConstantApp({ logs }: { readonly logs: boolean }): Promise<RunningHost> {
  return startHost({ APP_ROOT: join(SERVERS, 'constant-app'), LOG_LINES: String(logs) }, BARE_HOST)
}

/** A policy in a file of its own. @returns its path */
export function writePolicy(folder: string, name: string, policy: object): string {
  const file = join(folder, `${name}.json`)
  writeFileSync(file, JSON.stringify(policy))
  return file
}

/** Consumers with a key each. */
export async function newConsumers(
  tables: string,
  consumers: readonly { readonly consumer: string; readonly plan: string }[],
): Promise<{ readonly consumer: string; readonly key: string }[]> {
  const open = openAccount(tables)
  return Promise.all(
    consumers.map(async ({ consumer, plan }) => ({ consumer, key: await newKey(open, consumer, plan) })),
  )
}
