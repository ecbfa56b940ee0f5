import { describe, expect, type TestContext, test } from 'vitest'
import { unique } from '../support/consumers.ts'
import { type Asking, type Client, failureOf, type Session, type Tool } from './client.ts'
import type { Gateway, Plan } from './gateway.ts'
import { type Column, show } from './results.ts'
import { type Arrival, openTap, type Tap } from './tap.ts'

/** By as much a timer may end too early, in milliseconds. */
const TIMER_MS = 5
const PATIENCE = { timeout: 10_000 }

/** Requests for one refusal that are counted; a client that sends more is stopped. */
const MOST_COUNTED = 3
const UNKNOWN = 'tg_unknown'

interface RefusalCase {
  readonly column: Column
  readonly status: number
  /** Whether the model refuses with that status. Else the gateway does. */
  readonly byModel?: boolean
  readonly key?: string
  readonly model?: string
  /** Of the prompt, in characters. */
  readonly length?: number
  /** The plan whose limit one request spends: the second is refused. */
  readonly plan?: Plan
}

const REFUSALS: readonly RefusalCase[] = [
  { column: '400', status: 400, byModel: true },
  { column: '401', status: 401, key: UNKNOWN },
  { column: '403', status: 403, model: 'unpriced' },
  { column: '404', status: 404, model: 'unknown' },
  { column: '413', status: 413, length: 1_100_000 },
  { column: '415', status: 415, byModel: true },
  { column: '422', status: 422, byModel: true },
  { column: '451', status: 451, byModel: true },
  { column: '429, wait over 60 s', status: 429, plan: 'long' },
  { column: 'spent budget', status: 429, plan: 'spent' },
]

/** What holds between a client and the gateway. @param gateway is there when the first test runs */
export function clientConforms(client: Client, gateway: () => Gateway): void {
  const cell = { client: client.name, packages: client.packages }
  const model = () => gateway().model
  const calls = (prompt: string) => model().asked(prompt).length
  const ask = (session: Session, prompt: string, options: Partial<Asking> = {}) =>
    session.ask(prompt, { model: client.model, ...options })
  const stream = (session: Session, prompt: string, options: Partial<Asking> = {}) =>
    session.stream(prompt, { model: client.model, ...options })
  const seen = (context: TestContext, column: Column) => show(context, { ...cell, column, value: 'yes' })

  async function opened(
    { onTestFinished }: TestContext,
    plan: Plan = 'ample',
    key?: string,
  ): Promise<{ readonly session: Session; readonly tap: Tap }> {
    const tap = await openTap(gateway().origin)
    onTestFinished(tap.close)
    return { tap, session: client.open(tap.origin, key ?? (await gateway().newKey(plan))) }
  }

  describe.concurrent(client.name, () => {
    test('an answer', async (context) => {
      const { session, tap } = await opened(context)
      const prompt = unique('What is a tollgate?')
      expect(await ask(session, prompt)).toBe(`answer 1 to ${prompt}`)
      expect([statuses(tap.arrivals), calls(prompt)]).toEqual([[200], 1])
      seen(context, 'answer')
    })

    test('a stream, piece by piece', async (context) => {
      const { session, tap } = await opened(context)
      const prompt = unique('What is a tollgate?')
      const pieces = await Array.fromAsync(stream(session, prompt))
      expect(pieces.join('')).toBe(`answer 1 to ${prompt}`)
      expect(pieces.filter((piece) => piece !== '').length).toBeGreaterThan(1)
      expect([statuses(tap.arrivals), calls(prompt)]).toEqual([[200], 1])
      seen(context, 'stream')
    })

    test('a hit, plain and streamed, by what came plain and by what came streamed', async (context) => {
      const { session, tap } = await opened(context)
      const plain = unique('What is a tollgate?')
      await ask(session, plain)
      expect(await ask(session, plain)).toBe(`answer 1 to ${plain}`)
      expect((await Array.fromAsync(stream(session, plain))).join('')).toBe(`answer 1 to ${plain}`)
      const streamed = unique('What is a tollgate?')
      await Array.fromAsync(stream(session, streamed))
      expect((await Array.fromAsync(stream(session, streamed))).join('')).toBe(`answer 1 to ${streamed}`)
      expect(await ask(session, streamed)).toBe(`answer 1 to ${streamed}`)
      expect([calls(plain), calls(streamed)]).toEqual([1, 1])
      const hits = tap.arrivals.map(({ answer }) => answer?.headers.get('cache-status')?.includes('; hit') ?? false)
      expect(hits).toEqual([false, true, true, false, true, true])
      seen(context, 'cache hit')
    })

    test.for([false, true])('a tool, streamed: %s', async (streamed, context) => {
      const { session, tap } = await opened(context)
      const prompt = unique('Where is the tollgate?')
      const inputs: unknown[] = []
      const tool: Tool = (input) => {
        inputs.push(input)
        return `${input.place} is far`
      }
      const answer = await session.callTool(prompt, { model: client.model, tool, streamed })
      expect(answer).toBe(`answer 2 to ${prompt}`)
      expect(inputs).toEqual([{ place: prompt }])
      expect(JSON.stringify(model().asked(prompt).at(-1)?.body)).toContain(`${prompt} is far`)
      expect([statuses(tap.arrivals), calls(prompt)]).toEqual([[200, 200], 2])
      seen(context, 'tools')
    })

    test('an answer that is parsed', async (context) => {
      const { session } = await opened(context)
      const prompt = unique('Where is the tollgate?')
      expect(await session.parse(prompt, { model: client.model })).toEqual({ place: prompt, count: 1 })
      seen(context, 'parsed answer')
    })

    // What a client has not is no test.
    const ifEmbeds = client.embeds ? test : () => {}
    ifEmbeds('embeddings, and a hit', async (context: TestContext) => {
      const { session } = await opened(context)
      const inputs = [unique('gate'), unique('tollgate')]
      const vectors = inputs.map(({ length }) => [length, 0.5, -0.25])
      for (const _ of inputs) expect(await session.embed?.(inputs, { model: 'embedding' })).toEqual(vectors)
      expect(calls(inputs[1] ?? '')).toBe(1)
      seen(context, 'embeddings')
    })

    test.for(REFUSALS)('a refusal: $column', async (refusal, context) => {
      const { column, status, byModel, key, length = 0, plan } = refusal
      const { session, tap } = await opened(context, plan, key)
      const prompt = unique('What is a tollgate?').padEnd(length, '?')
      if (byModel) model().next(prompt, { kind: 'refusal', status })
      if (plan !== undefined) {
        const first = unique('What is a budget?')
        model().next(first, { kind: 'costly', output: 1_300 })
        await ask(session, first)
      }
      const from = tap.arrivals.length
      const enough = new AbortController()
      tap.onArrival = () => {
        if (tap.arrivals.length - from > MOST_COUNTED) enough.abort()
      }
      const options = { signal: enough.signal, ...(refusal.model ? { model: refusal.model } : {}) }
      const failed = await failure(ask(session, prompt, options))
      const stopped = enough.signal.aborted
      const refused = tap.arrivals.slice(from)
      for (const { answer } of stopped ? refused.slice(0, MOST_COUNTED) : refused) {
        expect([answer?.status, answer?.headers.get('x-should-retry')]).toEqual([status, 'false'])
        if (plan === 'long') expect(Number(answer?.headers.get('retry-after'))).toBeGreaterThan(60)
      }
      if (!stopped) expect(failed.status).toBe(status)
      if (plan !== undefined) expect(failed.code).toBe(plan === 'spent' ? 'insufficient_quota' : client.limitCode)
      if (client.obeys) expect(refused).toHaveLength(1)
      show(context, { ...cell, column, value: stopped ? `over ${MOST_COUNTED}` : String(refused.length) })
    })

    test('a stream that is refused raises as a plain request does', async (context) => {
      const { session, tap } = await opened(context)
      const pieces = Array.fromAsync(stream(session, unique('Whom?'), { model: 'unknown' }))
      expect((await failure(pieces)).status).toBe(404)
      expect(statuses(tap.arrivals)).toEqual([404])
    })

    test('a 429 with a short wait is answered after it', async (context) => {
      const { session, tap } = await opened(context, 'brief')
      await ask(session, unique('First'))
      const prompt = unique('Second')
      expect(await ask(session, prompt)).toBe(`answer 1 to ${prompt}`)
      const early = tooEarly(tap.arrivals)
      expect(statuses(tap.arrivals)).toEqual(client.obeys ? [200, 429, 200] : expect.arrayContaining([200, 429]))
      if (client.obeys) expect(early).toEqual([])
      show(context, { ...cell, column: '429, short wait', value: early.length === 0 ? 'after the wait' : 'too early' })
    })

    test.for(['cut', 'short', 'error'] as const)(
      'a stream that breaks raises, and is never taken for whole: %s',
      async (kind, context) => {
        const { session } = await opened(context)
        const prompt = unique('What is a tollgate?')
        model().next(prompt, { kind })
        let text = ''
        const reading = (async () => {
          for await (const piece of stream(session, prompt)) text += piece
        })()
        await expect(reading).rejects.toThrow()
        const whole = `answer 1 to ${prompt}`
        expect(text.length).toBeGreaterThan(0)
        expect(text.length).toBeLessThan(whole.length)
        expect(whole.startsWith(text)).toBe(true)
        // And it is not kept.
        expect(await ask(session, prompt)).toBe(`answer 2 to ${prompt}`)
        seen(context, 'broken stream raises')
      },
    )

    test('an abort ends the call to the model', async (context) => {
      const { session } = await opened(context)
      const { poll } = context.expect
      const prompt = unique('What is a tollgate?')
      model().next(prompt, { kind: 'silent' })
      const leaving = new AbortController()
      const answer = ask(session, prompt, { signal: leaving.signal })
      answer.catch(() => {})
      await poll(() => calls(prompt), PATIENCE).toBe(1)
      leaving.abort()
      await expect(answer).rejects.toThrow()
      await poll(() => model().abandoned(prompt), PATIENCE).toBe(1)
      expect(calls(prompt)).toBe(1)
      seen(context, 'abort reaches the model')
    })

    test('an abort within a stream ends the call to the model', async (context) => {
      const { session } = await opened(context)
      const { poll } = context.expect
      const prompt = unique('What is a tollgate?')
      model().next(prompt, { kind: 'silent' })
      const leaving = new AbortController()
      let text = ''
      const reading = (async () => {
        for await (const piece of stream(session, prompt, { signal: leaving.signal })) {
          text += piece
          if (text !== '') leaving.abort()
        }
      })()
      // Some raise, and some end.
      await reading.catch(() => {})
      expect(`answer 1 to ${prompt}`.startsWith(text)).toBe(true)
      await poll(() => model().abandoned(prompt), PATIENCE).toBe(1)
      expect(calls(prompt)).toBe(1)
      seen(context, 'abort reaches the model')
    })
  })
}

const statuses = (arrivals: readonly Arrival[]) => arrivals.map(({ answer }) => answer?.status)

async function failure(refused: Promise<unknown>) {
  try {
    await refused
  } catch (error) {
    return failureOf(error)
  }
  throw new Error('It was not refused')
}

/** Requests that came before the `Retry-After` of the 429 before them had passed. */
function tooEarly(arrivals: readonly Arrival[]): readonly Arrival[] {
  return arrivals.filter(({ at }, index) => {
    const before = arrivals[index - 1]?.answer
    if (before?.status !== 429) return false
    return at - before.at < Number(before.headers.get('retry-after')) * 1_000 - TIMER_MS
  })
}
