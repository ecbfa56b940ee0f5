import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { type RequestOptions, request } from 'node:http'
import { isAbsolute, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundled } from './bundled.ts'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const START = join(ROOT, 'packages/local-host/src/start.ts')
export const BARE_HOST = join(ROOT, 'test/support/bare-host.ts')
const STARTED = /Tollgate runs on (\S+)/
const START_TIMEOUT_MS = 30_000

/** A local host as a process of its own, serving dist/index.js. */
export interface RunningHost {
  readonly url: string
  readonly process: ChildProcess
  /** All that it has printed so far. */
  output(): string
  /** Ends it and waits until it is gone. */
  stop(signal?: NodeJS.Signals): Promise<void>
}

/** Settings that would let a developer's own environment into the tests are taken out. */
export function cleanEnv(settings: Record<string, string>): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(?:TOLLGATE_|OPENAI_|AZURE|AzureWebJobs|APPLICATIONINSIGHTS|OTEL_|npm_|PORT$|HOST$)/.test(name),
  )
  return { ...Object.fromEntries(kept), PORT: '0', ...settings }
}

/**
 * Another Function app to test in the place of ours: what `npm run package` makes, unpacked. `npm start` takes no other
 * app than its own, so it gives way to a host that does; what it would have supplied is not there.
 */
const TEST_APP = process.env.TOLLGATE_TEST_APP

/** Another Node to serve that app under: it runs the bare host's bundle. */
const TEST_NODE = process.env.TOLLGATE_TEST_NODE

/** The same host, serving that app. Paths in its settings are from our root all the same. */
function withTestApp(script: string, settings: Record<string, string>): [string, Record<string, string>] {
  if (TEST_APP === undefined || settings.APP_ROOT !== undefined) return [script, settings]
  if (script !== START && script !== BARE_HOST) return [script, settings]
  const { TOLLGATE_POLICY: policy } = settings
  const absolute = policy === undefined || isAbsolute(policy) ? {} : { TOLLGATE_POLICY: join(ROOT, policy) }
  return [BARE_HOST, { ...settings, ...absolute, APP_ROOT: TEST_APP }]
}

/**
 * @param started what it prints when it is up: its first group is the URL
 * @throws with the host's own words if it ends, or doesn't come up in time.
 */
export async function startHost(
  settings: Record<string, string>,
  script: string = START,
  started: RegExp = STARTED,
): Promise<RunningHost> {
  const [served, env] = withTestApp(script, settings)
  const node = served === BARE_HOST ? TEST_NODE : undefined
  const child = spawn(node ?? process.execPath, [bundled(served)], {
    cwd: ROOT,
    env: cleanEnv(served === BARE_HOST ? { APP_ROOT: ROOT, ...env } : env),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  const stop = async (signal: NodeJS.Signals = 'SIGTERM') => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill(signal)
    await gone
  }
  const deadline = Date.now() + START_TIMEOUT_MS
  while (!started.test(output) && child.exitCode === null && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  const url = started.exec(output)?.[1]
  if (url === undefined) {
    await stop('SIGKILL')
    throw new Error(`The host did not start:\n${output}`)
  }
  return { url, process: child, output: () => output, stop }
}

/** The status of a request that fetch would not send as it is: a `Host`, a target or a body of the test's own. */
export function rawStatus(
  host: Pick<RunningHost, 'url'>,
  options: RequestOptions,
  body: readonly string[] = [],
): Promise<number> {
  const { port } = new URL(host.url)
  return new Promise((resolve, reject) => {
    const sent = request({ port, host: '127.0.0.1', ...options }, (response) => {
      response.resume()
      resolve(response.statusCode ?? 0)
    })
    sent.on('error', reject)
    for (const chunk of body) sent.write(chunk)
    sent.end()
  })
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: Record<string, unknown>
}

/** POST /api/generate with a raw body. */
export async function generate(
  host: Pick<RunningHost, 'url'>,
  body: string | Uint8Array,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const response = await fetch(`${host.url}/api/generate`, { method: 'POST', body, headers })
  const text = await response.text()
  return { status: response.status, headers: response.headers, body: text === '' ? {} : JSON.parse(text) }
}
