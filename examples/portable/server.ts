import '../../functions/node-version.ts'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  azureDialect,
  createGateway,
  describeFault,
  dialectEntry,
  type Entry,
  generate,
  issueKey,
  jsonResponse,
  type Log,
  type LogSink,
  openaiDialect,
  readEntry,
  requestsInFlight,
  trace,
} from '@tollgate/middleware'
import { policyOf } from '../../functions/policy-in-force.ts'
import { readSettings } from '../../functions/settings.ts'
import { telemetryFrom } from '../../functions/telemetry.ts'
import { logLines } from './log-lines.ts'
import { nodeHttp } from './node-http.ts'

/*
 * The gateway in a plain server of Node's, without Azure Functions: POST /api/generate, what OpenAI's and Azure OpenAI's clients
 * ask under /api/v1/ and /api/openai/, GET /api/usage, GET /api/metrics, GET /health. The settings are those
 * of docs/settings.md; without a TOLLGATE_STORAGE all is kept in memory, and a key is made and printed.
 * PORT, HOST: where it listens (8080, 0.0.0.0). BEHIND_PROXY=1: a proxy of yours stands in front.
 */

const SWEEP_MS = 10 * 60_000
/** Above a load balancer's own, so that it never sends a request on a connection that is just being closed. */
const KEEP_ALIVE_MS = 75_000
/** What is under way when the process is told to end may take so long, and then so long to be told so, in milliseconds. */
const DRAIN = { waitMs: 25_000, endMs: 1_000 }

/** What waits to be exported may take so long to be sent, in milliseconds. */
const TELEMETRY_MS = 2_000

const GENERATE = /^\/api\/(?:v1\/llm\/)?generate$/

const write = logLines()
const sink: LogSink = (level, line) => write(JSON.stringify({ time: new Date().toISOString(), level, ...line }))
const log: Log = (level, event, fields) => sink(level, { event, ...fields })

async function main(): Promise<void> {
  const { PORT = '8080', HOST = '0.0.0.0', BEHIND_PROXY } = process.env
  const settings = readSettings(
    { ...process.env, TOLLGATE_STORAGE: process.env.TOLLGATE_STORAGE || 'memory:' },
    process.cwd(),
  )
  const gateway = createGateway({ ...settings, policy: policyOf(settings, log), log })
  const { finished } = gateway
  const telemetry = telemetryFrom(process.env, false, log)
  const to = () => telemetry
  const generateEntry = trace({
    refuse: generate.refuse,
    handler: () => gateway.handler(generate),
    finished,
    telemetry: to,
  })
  const openaiEntry = dialectEntry(openaiDialect, () => gateway, to)
  const azureEntry = dialectEntry(azureDialect, () => gateway, to)

  const usageEntry = readEntry(() => gateway.usageApi)
  const metricsEntry = readEntry(() => gateway.metrics)

  const entry: Entry = async (request, to) => {
    const { pathname } = request.url
    if (request.method === 'POST' && GENERATE.test(pathname)) return generateEntry(request, to)
    if (/^\/api\/v1\//i.test(pathname)) return openaiEntry(request, to)
    if (/^\/api\/openai\//i.test(pathname)) return azureEntry(request, to)
    if (/^\/api\/usage(?:\/|$)/i.test(pathname)) return usageEntry(request, to)
    if (request.method === 'GET' && pathname === '/api/metrics') return metricsEntry(request, to)
    if (request.method === 'GET' && pathname === '/health') return jsonResponse(200, { status: 'live' })
    return jsonResponse(404, { error: 'Not found' })
  }

  const inFlight = requestsInFlight()
  const server = createServer(
    { keepAliveTimeout: KEEP_ALIVE_MS },
    nodeHttp(entry, { behindProxy: BEHIND_PROXY === '1', log: sink, inFlight }),
  )
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(Number(PORT), HOST, resolve))
  const { port } = server.address() as AddressInfo
  if (settings.storage.kind === 'memory') log('info', 'key', { key: await demoKey(gateway.consumers, settings.policy) })
  log('info', 'listening', { url: `http://${HOST}:${port}` })

  const sweeping = new AbortController()
  const sweeper = setInterval(() => {
    gateway.sweep(sweeping.signal).catch((fault) => log('error', 'sweep failed', describeFault(fault)))
    gateway.rollUp(sweeping.signal).catch((fault) => log('error', 'usage not rolled up', describeFault(fault)))
  }, SWEEP_MS)

  // Requests and streams that are under way may end; new ones go to another process.
  const end = async () => {
    clearInterval(sweeper)
    sweeping.abort()
    server.close()
    await inFlight.drain(DRAIN)
    server.closeAllConnections()
    await Promise.allSettled([gateway.close(), telemetry?.close(TELEMETRY_MS)])
    process.exit(0)
  }
  process.once('SIGTERM', end)
  process.once('SIGINT', end)
}

async function demoKey(
  store: Parameters<typeof issueKey>[0],
  { plans, defaultPlan }: { readonly plans: ReadonlyMap<string, unknown>; readonly defaultPlan: string | undefined },
): Promise<string> {
  const [first] = plans.keys()
  const plan = defaultPlan ?? first
  const { key } = await issueKey(store, {
    consumer: 'demo',
    plan,
    defaultPlan,
    plans: [...plans.keys()],
    now: Date.now(),
  })
  return key
}

main().catch((fault: Error & { readonly operatorMessage?: string }) => {
  console.error(fault.operatorMessage ?? fault.stack ?? fault.message)
  process.exitCode = 1
})
