/*
 * The load, in a process of its own: so many connections, each sending its next request when the last is answered.
 * Reads a `Load` as JSON from standard input, and prints a `LoadResult`.
 */
import { Agent, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { quantile } from './statistics.ts'

export interface Load {
  readonly url: string
  readonly method: string
  /** For each connection in turn; as many connections as these. */
  readonly headers: readonly Readonly<Record<string, string>>[]
  /** `{n}` stands for a number that no other request has. */
  readonly body: string
  /** What each answer's header must hold, besides its status being 200. */
  readonly expect?: { readonly header: string; readonly holds: string }
  readonly seconds: number
}

export interface LoadResult {
  readonly requests: number
  readonly seconds: number
  /** Milliseconds. */
  readonly p50: number
  readonly p99: number
  /** Answers that were not as expected: their figures are worth nothing. */
  readonly wrong: number
  readonly firstWrong?: string
}

const load = JSON.parse(await text(process.stdin)) as Load
const agent = new Agent({ keepAlive: true, maxSockets: load.headers.length })
const latencies: number[] = []
const run = `${process.pid}-${Date.now()}`
let sent = 0
let wrong = 0
let firstWrong: string | undefined

function ask(headers: Readonly<Record<string, string>>): Promise<string | undefined> {
  sent += 1
  const body = load.body.replace('{n}', `${run}-${sent}`)
  return new Promise((resolve, reject) => {
    const asked = request(
      load.url,
      { agent, method: load.method, headers: { ...headers, 'content-length': Buffer.byteLength(body) } },
      (response) => {
        const { expect } = load
        const value = String(response.headers[expect?.header ?? ''] ?? '')
        const right = response.statusCode === 200 && (expect === undefined || value.includes(expect.holds))
        response.on('end', () => resolve(right ? undefined : `${response.statusCode} ${expect?.header ?? ''} ${value}`))
        response.on('error', reject)
        response.resume()
      },
    )
    asked.on('error', reject)
    asked.end(body)
  })
}

async function connection(headers: Readonly<Record<string, string>>, until: number): Promise<void> {
  while (performance.now() < until) {
    const started = performance.now()
    const fault = await ask(headers).catch((error: Error) => error.message)
    latencies.push(performance.now() - started)
    if (fault === undefined) continue
    wrong += 1
    firstWrong ??= fault
  }
}

const started = performance.now()
await Promise.all(load.headers.map((headers) => connection(headers, started + load.seconds * 1000)))
const seconds = (performance.now() - started) / 1000
const sorted = Float64Array.from(latencies).sort()
const result: LoadResult = {
  requests: latencies.length,
  seconds,
  p50: quantile(sorted, 0.5),
  p99: quantile(sorted, 0.99),
  wrong,
  ...(firstWrong === undefined ? {} : { firstWrong }),
}
console.log(JSON.stringify(result))
agent.destroy()
