import type { ServerResponse } from 'node:http'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { type Completion, complete, type Question } from '../support/completions.ts'
import { newKey, unique } from '../support/consumers.ts'
import {
  type CountedModel,
  chunk,
  faulty,
  filtered,
  piecesOf,
  startCountedModel,
  type Turn,
  whole,
} from '../support/counted-model.ts'
import { BARE_HOST, type RunningHost, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'
import { answering, type ReceivedCall, sending, streaming } from '../support/upstream.ts'

/* Many callers of the same question, at one host and at several, before a model that counts its calls. */

const open = openAccount(inject('azurite'))
const HOSTS = 4
/** So long does the model take to begin, where others are to come meanwhile. */
const MODEL_MS = 300
let model: CountedModel
let hosts: readonly RunningHost[]
let key: string
beforeAll(async () => {
  model = await startCountedModel()
  const settings = {
    TOLLGATE_STORAGE: inject('azurite'),
    TOLLGATE_POLICY: 'test/faults/cache.yaml',
    // The default deadlines would make a slow moment of a busy test machine look like a miss, or a refusal.
    TOLLGATE_CACHE_DEADLINE_MS: '10000',
    TOLLGATE_STORE_DEADLINE_MS: '10000',
    OPENAI_BASE_URL: model.baseUrl,
    OPENAI_API_KEY: 'sk-upstream',
  }
  hosts = await Promise.all(Array.from({ length: HOSTS }, () => startHost(settings, BARE_HOST)))
  key = await newKey(open, unique('crowd'), 'ample')
  await Promise.all(hosts.map((_, at) => ask(unique('warm'), { at })))
})
afterAll(async () => {
  await Promise.all((hosts ?? []).map((host) => host.stop()))
  await model?.close()
})

function ask(prompt: string, { at = 0, ...more }: Partial<Question> & { readonly at?: number } = {}) {
  const host = hosts[at]
  if (host === undefined) throw new Error('No such host')
  return complete(host, { prompt, key, ...more })
}

const many = <T>(count: number, make: (index: number) => T) => Array.from({ length: count }, (_, index) => make(index))
const slowly = { before: (index: number) => (index === 0 ? after(MODEL_MS) : undefined) }

function after(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** All of them whole, and the only answer that the model gave. */
function expectTheOne(completions: readonly Completion[], prompt: string): void {
  const [text] = model.given(prompt)
  expect(model.given(prompt)).toHaveLength(1)
  // What a host says went wrong there tells why an answer of its own isn't one.
  const said = hosts.flatMap((host) => host.output().match(/^.*error.*(?:\n {4}at .*)*/gm) ?? []).slice(0, 3)
  for (const completion of completions) expect(completion, said.join('\n')).toMatchObject({ status: 200, whole: true })
  expect(new Set(completions.map((completion) => completion.text))).toEqual(new Set([text]))
}

describe('at one host', () => {
  test('a thousand callers at once are one call', async () => {
    const prompt = unique('thousand')
    model.next(prompt, whole(slowly))
    const completions = await Promise.all(many(1_000, () => ask(prompt)))
    expectTheOne(completions, prompt)
    expect(model.asked(prompt)).toBe(1)
    expect(completions.filter(({ cacheStatus }) => cacheStatus === 'tollgate; fwd=miss; stored')).toHaveLength(1)
  })

  test('two hundred who stream are one call, and read it as it comes', async () => {
    const prompt = unique('streams')
    const begun = Promise.withResolvers<void>()
    // It goes on when all have its beginning.
    model.next(prompt, whole({ before: (index) => (index === 2 ? begun.promise : undefined) }))
    const reading = new Set<number>()
    const completions = await Promise.all(
      many(200, (index) =>
        ask(prompt, {
          stream: true,
          onText() {
            reading.add(index)
            if (reading.size === 200) begun.resolve()
          },
        }),
      ),
    )
    expectTheOne(completions, prompt)
    expect(model.asked(prompt)).toBe(1)
    expect(completions.filter(({ cacheStatus }) => cacheStatus.endsWith('collapsed'))).toHaveLength(199)
  })

  test('plain callers and streams share a call, whoever began', async () => {
    for (const began of [false, true]) {
      const prompt = unique('mixed')
      model.next(prompt, whole(slowly))
      expectTheOne(await Promise.all(many(60, (index) => ask(prompt, { stream: (index % 2 === 0) === began }))), prompt)
      expect(model.asked(prompt)).toBe(1)
    }
  })
})

describe('at several hosts', () => {
  test('a thousand callers of what each host has missed before are one call', async () => {
    const prompt = unique('everywhere')
    model.next(prompt, ...many(HOSTS, filtered))
    for (let at = 0; at < HOSTS; at += 1) await ask(prompt, { at })
    expect(model.asked(prompt)).toBe(HOSTS)
    model.next(prompt, whole(slowly))
    expectTheOne(await Promise.all(many(1_000, (index) => ask(prompt, { at: index % HOSTS }))), prompt)
    expect(model.asked(prompt)).toBe(HOSTS + 1)
  })

  test('where one has missed it before and is asking, the others wait for it', async () => {
    const prompt = unique('claimed')
    model.next(prompt, filtered(), whole({ before: () => after(2 * MODEL_MS) }))
    await ask(prompt)
    const first = ask(prompt)
    await expect.poll(() => model.asked(prompt), { interval: 5 }).toBe(2)
    const others = many(300, (index) => ask(prompt, { at: 1 + (index % (HOSTS - 1)), stream: index % 5 === 0 }))
    expectTheOne(await Promise.all([first, ...others]), prompt)
    expect(model.asked(prompt)).toBe(2)
  })

  test('when the one who is asking leaves, another asks at once', async () => {
    const prompt = unique('left')
    model.next(prompt, ...many(HOSTS, filtered), whole({ before: () => new Promise(() => {}) }))
    for (let at = 0; at < HOSTS; at += 1) await ask(prompt, { at })
    const leaving = new AbortController()
    const left = expect(ask(prompt, { signal: leaving.signal })).rejects.toThrow('abort')
    await expect.poll(() => model.asked(prompt), { interval: 5 }).toBe(HOSTS + 1)
    const others = many(20, (index) => ask(prompt, { at: 1 + (index % (HOSTS - 1)) }))
    leaving.abort()
    await left
    const began = performance.now()
    const completions = await Promise.all(others)
    // A claim that is not given back holds for 10 s.
    expect(performance.now() - began).toBeLessThan(4_000)
    expect(new Set(completions.map(({ text }) => text))).toEqual(new Set([model.given(prompt).at(-1)]))
    expect(model.asked(prompt)).toBe(HOSTS + 2)
  })
})

describe('a stream that several read', () => {
  /** Callers who all have the stream's beginning; the model goes on when the test says so. */
  async function reading(prompt: string, count: number) {
    const goingOn = Promise.withResolvers<void>()
    model.next(prompt, whole({ before: (index) => (index === 2 ? goingOn.promise : undefined) }))
    const callers = many(count, () => {
      const leaving = new AbortController()
      const begun = Promise.withResolvers<void>()
      const onText = () => begun.resolve()
      const completion = () => ask(prompt, { stream: true, signal: leaving.signal, onText })
      return { leave: () => leaving.abort(), begun: begun.promise, completion }
    })
    const [leader, ...followers] = callers.map((caller) => ({ ...caller, completed: () => caller.completion() }))
    if (leader === undefined) throw new Error('Nobody reads')
    const led = leader.completed()
    await leader.begun
    const followed = followers.map((follower) => follower.completed())
    await Promise.all(followers.map(({ begun }) => begun))
    expect(model.asked(prompt)).toBe(1)
    return { leader, led, followers, followed, goOn: () => goingOn.resolve() }
  }

  test('goes on for the others when the one who asked leaves', async () => {
    const prompt = unique('leader leaves')
    const { leader, led, followed, goOn } = await reading(prompt, 6)
    leader.leave()
    expect((await led).whole).toBe(false)
    const late = ask(prompt)
    goOn()
    expectTheOne(await Promise.all([...followed, late]), prompt)
    expect(model.asked(prompt)).toBe(1)
    await expect.poll(async () => (await ask(prompt, { at: 1 })).cacheStatus).toContain('hit')
  })

  test('ends at the model within a second when all have left', async () => {
    const prompt = unique('all leave')
    const { leader, followers, led, followed } = await reading(prompt, 6)
    const began = performance.now()
    for (const { leave } of [leader, ...followers]) leave()
    await Promise.all([led, ...followed])
    await expect.poll(() => model.ended(prompt), { interval: 5, timeout: 5_000 }).toBe(1)
    expect(performance.now() - began).toBeLessThan(1_000)
    const again = await ask(prompt)
    expect(again).toMatchObject({ whole: true, text: model.given(prompt).at(-1) })
    expect(model.asked(prompt)).toBe(2)
  })
})

/** What a stream begins with, and then something else than its end. */
const begun = (end: (response: ServerResponse) => unknown) =>
  faulty((text, call, response) =>
    streaming(piecesOf(text).slice(0, 2), { before: slowly.before, end: (broken) => void end(broken) })(call, response),
  )
/** All of a stream's text, and then what ends it. */
const ending = (end: string) => (isFaulty: boolean) => ({
  ...faulty((text, call, response) =>
    streaming(piecesOf(text), { before: slowly.before, end: (last) => last.end(end) })(call, response),
  ),
  faulty: isFaulty,
})
const plain = (reply: (text: string, call: ReceivedCall, response: ServerResponse) => unknown) =>
  faulty(async (text, call, response) => {
    await after(MODEL_MS)
    return reply(text, call, response)
  })
const json = { 'content-type': 'application/json' }
const choice = (content: string, finish_reason: string | null, more: object = {}) => ({
  choices: [{ index: 0, message: { role: 'assistant', content, ...more }, finish_reason }],
})
const CALL = { id: 'call', type: 'function', function: { name: 'f', arguments: '{}' } }

/** `refused`: nobody may take it for an answer. `passed on`: it is one, though not to be kept. */
const SPOILED: readonly [string, 'refused' | 'passed on', boolean, () => Turn][] = [
  ['is cut', 'refused', false, () => plain((text, _call, response) => cutShort(text, response))],
  ['is an error', 'refused', false, () => plain((_text, call, response) => sending(500, '{}', json)(call, response))],
  [
    'is an error by a 200',
    'refused',
    false,
    () => plain((_text, call, response) => sending(200, '{"error":{"code":"overloaded"}}', json)(call, response)),
  ],
  [
    'has no choices',
    'refused',
    false,
    () => plain((_text, call, response) => answering((body) => ({ ...body, choices: [] }))(call, response)),
  ],
  ['is filtered', 'passed on', false, filtered],
  [
    'calls a tool',
    'passed on',
    false,
    () =>
      plain((text, call, response) =>
        answering((body) => ({ ...body, ...choice(text, 'tool_calls', { tool_calls: [CALL] }) }))(call, response),
      ),
  ],
  [
    'does not say why it ends',
    'passed on',
    false,
    () => plain((text, call, response) => answering((body) => ({ ...body, ...choice(text, null) }))(call, response)),
  ],
  ['is cut', 'refused', true, () => begun((response) => response.write('', () => response.destroy()))],
  ['ends without its end', 'refused', true, () => begun((response) => response.end())],
  ['turns into an error', 'refused', true, () => begun((response) => response.end('data: {"error":{"code":"x"}}\n\n'))],
  ['turns into nonsense', 'refused', true, () => begun((response) => response.end('data: {\n\n'))],
  ['ends in the middle of an event', 'refused', true, () => begun((response) => response.end('data: {"choices":'))],
  ['is filtered', 'passed on', true, filtered],
  [
    'calls a tool',
    'passed on',
    true,
    () =>
      ending(
        `data: ${chunk({ tool_calls: [{ index: 0, ...CALL }] }, null)}\n\n` +
          `data: ${chunk({}, 'tool_calls')}\n\ndata: [DONE]\n\n`,
      )(true),
  ],
  ['is done without a reason', 'passed on', true, () => ending('data: [DONE]\n\n')(true)],
]

/** Half of what was announced. */
function cutShort(text: string, response: ServerResponse): void {
  const body = JSON.stringify({ object: 'chat.completion', ...choice(text, 'stop') })
  response.writeHead(200, { ...json, 'content-length': body.length })
  response.write(body.slice(0, body.length / 2), () => response.destroy())
}

describe('an answer that is not to be kept', () => {
  test.concurrent.each(SPOILED)(
    '%s (%s; streamed: %s): never taken for a whole one',
    async (_what, kind, stream, turn) => {
      const prompt = unique('spoiled')
      model.next(prompt, turn())
      const first = ask(prompt, { stream })
      await expect.poll(() => model.asked(prompt), { interval: 5 }).toBe(1)
      const followers = many(8, (index) => ask(prompt, { stream: index < 5 === stream }))
      const completions = await Promise.all([first, ...followers])
      expect(completions[0]?.whole).toBe(kind === 'passed on')
      const answers = [...model.given(prompt), ...(kind === 'passed on' ? [`answer 1 to ${prompt}.`] : [])]
      for (const { status, whole, text, broke, error } of completions) {
        if (whole) expect(answers).toContain(text)
        else if (status === 200) expect([broke, error]).toEqual([true, expect.stringContaining('failed')])
        else expect([status, error]).toEqual([502, expect.stringContaining('failed')])
      }
      // Whoever came too late to share it has asked anew.
      const asked = model.asked(prompt)
      for (const at of [0, 1]) {
        const again = await ask(prompt, { at })
        expect([again.whole, model.given(prompt).includes(again.text)]).toEqual([true, true])
      }
      expect(model.asked(prompt)).toBe(Math.max(2, asked))
    },
  )
})

test('a stream that ends after its reason, though without [DONE], is whole and kept', async () => {
  const prompt = unique('undone')
  model.next(prompt, ending(`data: ${chunk({}, 'stop')}\n\n`)(false))
  expectTheOne(await Promise.all(many(5, () => ask(prompt, { stream: true }))), prompt)
  await expect.poll(async () => (await ask(prompt, { at: 1 })).cacheStatus).toContain('hit')
  expectTheOne([await ask(prompt, { at: 1 }), await ask(prompt, { at: 2, stream: true })], prompt)
  expect(model.asked(prompt)).toBe(1)
})
