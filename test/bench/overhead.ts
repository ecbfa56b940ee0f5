import { join } from 'node:path'
import { newKey } from '../support/consumers.ts'
import { BARE_HOST, ROOT, type RunningHost, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'
import type { Measured, Subject } from './harness.ts'
import { num, ratio } from './report.ts'

const CONNECTIONS = 16
const HERE = join(ROOT, 'test/bench')
const PROMPT = 'What is a tollgate?'

export const title = 'What the gateway adds to a call'

export const method = `
${CONNECTIONS} connections, each sending its next request when the last one is answered; in the gateway's rows each with a
consumer of its own, so that no two share a look at their limit. Each request is a \`POST\` with a short prompt.

- **bare node:http**: a server of Node's that reads the request and answers with a constant.
- **constant Function app**: the same answer by a Function app that does nothing else, on the local host: what the host
  and the Functions library cost.
- **full pipeline, hit**: the bundle on the local host: key, limit (leased from a row in Table Storage, and spent without
  asking), and the completion from memory.
- **full pipeline, miss**: the same with prompts that nobody asked before: a look into the cache's table, a call to the
  simulated model, a completion stored.

The tables are Azurite's and the model is simulated, each in a process of its own on the same machine: Azurite is written
for tests and takes most of the time here. In Azure, Table Storage takes milliseconds and none of your processor; so
read the **gateway's processor time** as the cost, and latency as this machine's.
`.trim()

/** The processes of this bench, and how to end them. */
export async function start(): Promise<{ readonly subjects: Subject[]; stop(): Promise<void> }> {
  const running: RunningHost[] = []
  const run = async (settings: Record<string, string>, script: string, started?: RegExp) => {
    const server = await startHost(settings, script, started)
    running.push(server)
    return server
  }
  const stop = async () => {
    await Promise.all(running.map((server) => server.stop('SIGKILL')))
  }
  try {
    const bare = await run({}, join(HERE, 'servers/bare-http.ts'), /listens on (\S+)/)
    const constant = await run({ APP_ROOT: join(HERE, 'servers/constant-app') }, BARE_HOST)
    const tables = await run({}, join(HERE, 'servers/azurite.ts'), /tables at (\S+)/)
    const model = await run({}, join(ROOT, 'packages/local-host/src/model.ts'), /answers on (\S+)/)
    const gateway = await run(
      {
        TOLLGATE_STORAGE: tables.url,
        TOLLGATE_POLICY: join(HERE, 'servers/policy.yaml'),
        // The default would make a slow moment of Azurite's a miss that is not stored.
        TOLLGATE_CACHE_DEADLINE_MS: '5000',
        OPENAI_BASE_URL: model.url,
        OPENAI_API_KEY: 'none',
      },
      BARE_HOST,
    )
    const open = openAccount(tables.url)
    const keys = await Promise.all(
      Array.from({ length: CONNECTIONS }, (_, index) => newKey(open, `bench-${index}`, 'bench')),
    )
    const post = (url: string) => ({ url, method: 'POST', body: JSON.stringify({ prompt: PROMPT }) })
    const anonymous = keys.map(() => ({}))
    const withKeys = keys.map((key) => ({ 'x-api-key': key }))
    const generate = post(`${gateway.url}/api/generate`)
    // So that no hit is a first miss.
    for (const headers of withKeys) await (await fetch(generate.url, { ...generate, headers })).text()

    const pid = (server: RunningHost) => server.process.pid ?? 0
    const processes = { gateway: pid(gateway), Azurite: pid(tables) }
    return {
      stop,
      subjects: [
        {
          name: 'bare node:http',
          load: { ...post(bare.url), headers: anonymous },
          processes: { gateway: pid(bare) },
        },
        {
          name: 'constant Function app',
          load: { ...post(`${constant.url}/api/generate`), headers: anonymous },
          processes: { gateway: pid(constant) },
        },
        {
          name: 'full pipeline, hit',
          load: { ...generate, headers: withKeys, expect: { header: 'cache-status', holds: 'hit' } },
          processes,
        },
        {
          name: 'full pipeline, miss',
          load: {
            ...generate,
            body: JSON.stringify({ prompt: `${PROMPT} {n}` }),
            headers: withKeys,
            expect: { header: 'cache-status', holds: 'fwd=miss; stored' },
          },
          processes: { ...processes, model: pid(model) },
        },
      ],
    }
  } catch (error) {
    await stop()
    throw error
  }
}

/** What the figures say, in words. */
export function findings(measured: readonly Measured[]): string[] {
  const [bare, constant, hit, miss] = measured.map(({ cpu }) => cpu.gateway?.median ?? Number.NaN)
  return [
    `A hit takes ${num(hit)} ms of the gateway's processor: ${ratio(hit, constant)} times a Function app that does nothing, which takes ${ratio(constant, bare)} times a bare server.`,
    `A miss takes ${num(miss)} ms: ${ratio(miss, hit)} times a hit.`,
  ]
}
