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
  /** `{n}` stands for what no other request has, of this load or of another with another name. */
  readonly body: string
  /** What `{n}` begins with; the same requests again for the same name. Default: no other load's. */
  readonly name?: string
  /** What each answer's header must hold, besides its status being 200. */
  readonly expect?: { readonly header: string; readonly holds: string }
  readonly seconds: number
  /** How many requests each connection sends at most, however much time is left. Default: as many as it can. */
  readonly each?: number
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

/** Of a wrong answer, in characters. */
const MOST_SAID = 300

const load = JSON.parse(await text(process.stdin)) as Load
const agent = new Agent({ keepAlive: true, maxSockets: load.headers.length })
const latencies: number[] = []
const { name = `${process.pid}-${Date.now()}`, each = Number.POSITIVE_INFINITY } = load
let wrong = 0
let firstWrong: string | undefined

function ask(headers: Readonly<Record<string, string>>, n: string): Promise<string | undefined> {
  const body = load.body.replace('{n}', n)
  return new Promise((resolve, reject) => {
    const asked = request(
      load.url,
      { agent, method: load.method, headers: { ...headers, 'content-length': Buffer.byteLength(body) } },
      (response) => {
        const { expect } = load
        const value = String(response.headers[expect?.header ?? ''] ?? '')
        const right = response.statusCode === 200 && (expect === undefined || value.includes(expect.holds))
        const told = `${response.statusCode} ${expect?.header ?? ''} ${value}`
        response.on('error', reject)
        if (right) response.on('end', () => resolve(undefined)).resume()
        else text(response).then((said) => resolve(`${told} ${said.slice(0, MOST_SAID)}`), reject)
      },
    )
    asked.on('error', reject)
    asked.end(body)
  })
}

async function connection(headers: Readonly<Record<string, string>>, index: number, until: number): Promise<void> {
  for (let sent = 0; sent < each && performance.now() < until; sent += 1) {
    const started = performance.now()
    const fault = await ask(headers, `${name}-${index}-${sent}`).catch((error: Error) => error.message)
    latencies.push(performance.now() - started)
    if (fault === undefined) continue
    wrong += 1
    firstWrong ??= fault
  }
}

const started = performance.now()
await Promise.all(load.headers.map((headers, index) => connection(headers, index, started + load.seconds * 1000)))
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
