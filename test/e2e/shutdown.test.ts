import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, generate, type RunningHost, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'
import { answering, startUpstream, streaming, type Upstream } from '../support/upstream.ts'

/* What becomes of requests in flight when the host tells the worker to end: the bundle, real tables, real processes. */

const STREAMS = 100
const PLAIN = 20
const ALL = STREAMS + PLAIN
/** A token of an answer, by the policy of this test. */
const OUTPUT_USD = 8e-6

const open = openAccount(inject('azurite'))
let upstream: Upstream
let ending: RunningHost
let other: RunningHost
beforeAll(async () => {
  upstream = await startUpstream()
  const settings = {
    TOLLGATE_STORAGE: inject('azurite'),
    TOLLGATE_POLICY: 'test/e2e/shutdown.yaml',
    OPENAI_BASE_URL: upstream.baseUrl,
    OPENAI_API_KEY: 'sk',
  }
  ;[ending, other] = await Promise.all([startHost(settings, BARE_HOST), startHost(settings, BARE_HOST)])
})
afterAll(async () => {
  await Promise.all([ending?.stop('SIGKILL'), other?.stop('SIGKILL')])
  await upstream?.close()
})

interface Line {
  readonly event: string
  readonly status?: number
  readonly stream?: string
  readonly refusal?: string
  readonly uncertain?: true
  readonly costNanoUsd?: number
  readonly upstream?: { readonly code?: string }
}
const linesOf = (host: RunningHost): Line[] =>
  [...host.output().matchAll(/\{"event":.*\}$/gm)].map(([line]) => JSON.parse(line) as Line)

/** A stream's text, and whether it came to a proper end. */
async function read(response: Response): Promise<{ readonly text: string; readonly broke: boolean }> {
  let text = ''
  try {
    for await (const piece of response.body ?? []) text += Buffer.from(piece).toString()
    return { text, broke: false }
  } catch {
    return { text, broke: true }
  }
}

describe('H2: the end of a worker with 100 streams and 20 plain answers in flight', () => {
  test('every request has its answer and its line with its cost; another instance has all that was held', async () => {
    const key = await newKey(open, unique('crowd'), 'crowd')
    const told = Promise.withResolvers<void>()
    // Half of them end while the host waits, and half never would.
    upstream.reply = (call, response) => {
      const quick = JSON.stringify(call.body).includes('quick')
      if (call.body.stream !== true) return quick && told.promise.then(() => answering()(call, response))
      const end = quick ? {} : { end: () => {} }
      return streaming(['a', 'b'], { before: (index) => index === 1 && quick && told.promise, ...end })(call, response)
    }
    const ask = (i: number, stream: boolean) =>
      fetch(`${ending.url}/api/generate`, {
        method: 'POST',
        headers: { 'x-api-key': key },
        body: JSON.stringify({ prompt: `${i % 2 === 0 ? 'quick' : 'endless'} ${i}`, stream }),
      })
    const streams = await Promise.all(Array.from({ length: STREAMS }, (_, i) => ask(i, true)))
    const plain = Array.from({ length: PLAIN }, (_, i) => ask(STREAMS + i, false))
    await expect.poll(() => upstream.calls.length, { timeout: 20_000 }).toBe(ALL)
    const texts = Promise.all(streams.map(read))
    const answers = Promise.all(plain)

    const began = performance.now()
    const gone = ending.stop('SIGTERM')
    // By then the host has told the worker to end.
    await expect.poll(() => fetch(ending.url).catch(() => 'closed')).toBe('closed')
    told.resolve()
    await gone
    const ended = performance.now()
    expect(ending.process.exitCode).toBe(0)
    expect(ended - began).toBeLessThan(6_500)

    const lines = linesOf(ending).filter(({ event }) => event === 'request')
    expect(lines).toHaveLength(ALL)
    expect(lines.filter(({ costNanoUsd = 0 }) => costNanoUsd > 0)).toHaveLength(ALL)
    const count = (match: Partial<Line>) =>
      lines.filter((line) => Object.entries(match).every(([field, value]) => line[field as keyof Line] === value))
        .length
    expect([
      count({ status: 200, stream: 'complete' }),
      count({ status: 200, stream: 'broken', uncertain: true }),
      count({ status: 503, refusal: 'shutting_down', uncertain: true }),
    ]).toEqual([STREAMS / 2, STREAMS / 2, PLAIN / 2])
    expect(lines.filter((line) => line.upstream?.code === 'shutting_down')).toHaveLength(ALL / 2)
    expect(ending.output()).not.toContain('requests cut off')

    const cut = (await texts).filter(({ broke }) => broke)
    expect(cut).toHaveLength(STREAMS / 2)
    for (const { text } of cut) expect(text).toContain('code shutting_down')
    const statuses = (await answers).map((answer) => [answer.status, answer.headers.get('retry-after')].join())
    expect(statuses.toSorted()).toEqual([
      ...Array.from({ length: PLAIN / 2 }, () => '200,'),
      ...Array.from({ length: PLAIN / 2 }, () => '503,1'),
    ])

    // All slots at once, by requests that wait for each other, and all the money that was not spent.
    const spentUsd = lines.reduce((sum, { costNanoUsd = 0 }) => sum + costNanoUsd, 0) / 1e9
    const inputUsd = Math.max(...lines.map(({ costNanoUsd = 0 }) => costNanoUsd)) / 1e9 - 800 * OUTPUT_USD
    const maxTokens = Math.floor((0.98 * ((1 - spentUsd) / ALL - inputUsd)) / OUTPUT_USD)
    const held = Promise.withResolvers<void>()
    let heldAt = Number.POSITIVE_INFINITY
    let calls = 0
    upstream.reply = async (call, response) => {
      calls += 1
      if (calls === ALL) {
        heldAt = performance.now()
        held.resolve()
      }
      await held.promise
      answering()(call, response)
    }
    const admitted = await Promise.all(
      Array.from({ length: ALL }, (_, i) =>
        generate(other, JSON.stringify({ prompt: `after ${i}`, max_tokens: maxTokens }), { 'x-api-key': key }),
      ),
    )
    expect(admitted.map(({ status }) => status)).toEqual(Array.from({ length: ALL }, () => 200))
    expect(other.output()).not.toContain('"clamped"')
    // A lease that was not given back holds for half a minute.
    expect(heldAt - ended).toBeLessThan(10_000)
  })
})
