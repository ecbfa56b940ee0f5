import { describe, expect, type TestContext, test } from 'vitest'
import { unique } from '../support/consumers.ts'
import { type Asking, type Client, failureOf, type Session, type Tool } from './client.ts'
import type { Gateway, Plan } from './gateway.ts'
import { type Column, show } from './results.ts'
import { type Arrival, openTap, type Tap } from './tap.ts'

/** Waits that a client may misjudge its timer by. */
const TIMER_MS = 5
const PATIENCE = { timeout: 10_000 }

/** What holds between a client and the gateway. @param gateway is there when the first test runs */
export function clientConforms(client: Client, gateway: () => Gateway): void {
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

    test.skipIf(!client.embeds)('embeddings, and a hit', async (context) => {
      const { session } = await opened(context)
      const inputs = [unique('gate'), unique('toll')]
      const vectors = [0, 1].map((index) => [index, 0.5, -0.25])
      for (const _ of inputs) expect(await session.embed?.(inputs, { model: 'embedding' })).toEqual(vectors)
      expect(calls(inputs[1] ?? '')).toBe(1)
      seen(context, 'embeddings')
    })

    describe.each<[Column, { readonly status: number; readonly code?: string }, (to: Refusing) => Promise<unknown>]>([
      [
        '400',
        { status: 400 },
        async ({ session }) => {
          const prompt = unique('Too much')
          model().next(prompt, { kind: 'refusal', status: 400, code: 'context_length_exceeded' })
          return ask(session, prompt)
        },
      ],
      ['401', { status: 401 }, ({ tap }) => ask(client.open(tap.origin, 'tg_unknown'), unique('Who?'))],
      ['403', { status: 403 }, ({ session }) => ask(session, unique('What for?'), { model: 'unpriced' })],
      ['404', { status: 404 }, ({ session }) => ask(session, unique('Whom?'), { model: 'unknown' })],
      ['413', { status: 413 }, ({ session }) => ask(session, unique('All').padEnd(1_100_000, '.'))],
    ])('a %s', (column, expected, refused) => {
      test('raises, and is asked again as the table says', async (context) => {
        const { session, tap } = await opened(context)
        expect(await failure(refused({ session, tap }))).toMatchObject(expected)
        expect(new Set(statuses(tap.arrivals))).toEqual(new Set([expected.status]))
        counted(context, column, tap.arrivals)
      })
    })

    test('a 429 whose wait is over 60 s says that it should not be tried again', async (context) => {
      const { session, tap } = await opened(context, 'long')
      await ask(session, unique('First'))
      expect(await failure(ask(session, unique('Second')))).toEqual({ status: 429, code: 'rate_limit_exceeded' })
      const [, ...refused] = tap.arrivals
      for (const { answer } of refused) {
        expect([answer?.status, answer?.headers.get('x-should-retry')]).toEqual([429, 'false'])
        expect(Number(answer?.headers.get('retry-after'))).toBeGreaterThan(60)
      }
      counted(context, '429, wait over 60 s', refused)
    })

    test('a spent budget reads as such, and says that it should not be tried again', async (context) => {
      const { session, tap } = await opened(context, 'spent')
      const prompt = unique('Much')
      model().next(prompt, { kind: 'costly', input: 5_000 })
      await ask(session, prompt)
      expect(await failure(ask(session, unique('More')))).toEqual({ status: 429, code: 'insufficient_quota' })
      const [, ...refused] = tap.arrivals
      for (const { answer } of refused)
        expect([answer?.status, answer?.headers.get('x-should-retry')]).toEqual([429, 'false'])
      counted(context, 'spent budget', refused)
    })

    test('a 429 with a short wait is answered after it', async (context) => {
      const { session, tap } = await opened(context, 'brief')
      await ask(session, unique('First'))
      const prompt = unique('Second')
      expect(await ask(session, prompt)).toBe(`answer 1 to ${prompt}`)
      const early = tooEarly(tap.arrivals)
      expect(statuses(tap.arrivals)).toEqual(client.obeys ? [200, 429, 200] : expect.arrayContaining([200, 429]))
      if (client.obeys) expect(early).toEqual([])
      show(context, { ...cell, column: '429, wait of 2 s', value: early.length === 0 ? 'after the wait' : 'too early' })
    })

    test.for(['cut', 'short', 'error'] as const)(
      'a stream that breaks raises, and is never taken for whole: %s',
      async (kind, context) => {
        const { session } = await opened(context)
        const prompt = unique('What is a tollgate?')
        model().next(prompt, { kind })
        const pieces: string[] = []
        await expect(
          (async () => {
            for await (const piece of stream(session, prompt)) pieces.push(piece)
          })(),
        ).rejects.toThrow()
        const text = pieces.join('')
        const whole = `answer 1 to ${prompt}`
        expect(text.length).toBeGreaterThan(0)
        expect(text.length).toBeLessThan(whole.length)
        expect(whole.startsWith(text)).toBe(true)
        // And it is not kept.
        expect(await ask(session, prompt)).toBe(`answer ${calls(prompt)} to ${prompt}`)
        expect(calls(prompt)).toBeGreaterThan(1)
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

  interface Refusing {
    readonly session: Session
    readonly tap: Tap
  }

  const cell = { client: client.name, packages: client.packages }
  const model = () => gateway().model
  const calls = (prompt: string) => model().asked(prompt).length
  const ask = (session: Session, prompt: string, options: Partial<Asking> = {}) =>
    session.ask(prompt, { model: client.model, ...options })
  const stream = (session: Session, prompt: string, options: Partial<Asking> = {}) =>
    session.stream(prompt, { model: client.model, ...options })
  const seen = (context: TestContext, column: Column) => show(context, { ...cell, column, value: 'yes' })

  async function opened({ onTestFinished }: TestContext, plan: Plan = 'ample'): Promise<Refusing> {
    const tap = await openTap(gateway().origin)
    onTestFinished(tap.close)
    return { tap, session: client.open(tap.origin, await gateway().newKey(plan)) }
  }

  /** How many requests one refusal makes. */
  function counted(context: TestContext, column: Column, refused: readonly Arrival[]): void {
    if (client.obeys) expect(refused).toHaveLength(1)
    else expect(refused.length).toBeGreaterThan(0)
    show(context, { ...cell, column, value: String(refused.length) })
  }
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
