import { describe, expect, test } from 'vitest'
import { eventsOf, streamOf, textIn } from '../../../../test/support/cache-room.ts'
import { playedStream } from '../../../../test/support/replies.ts'
import { BrokenStream, chat, type EventSource, type StreamEnd, type StreamEvent } from '../operations/index.ts'
import { type Refusal, RequestEnded, type StreamOutcome } from '../pipeline/index.ts'
import { byteBudget } from './kept-bytes.ts'
import { type SharedEnd, type SharedStream, sharedStream } from './shared-stream.ts'

const settled = () => new Promise((resolve) => setImmediate(resolve))
const never = new AbortController().signal
const chunk = (content: string, finish: string | null = null) =>
  `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content }, finish_reason: finish }] })}\n\n`

/** A shared stream of this reply, and what it told of itself. */
function sharing(
  reply: Parameters<typeof sharedStream>[0],
  { maxKeptBytes = 1_000_000, budget = byteBudget(1_000_000) } = {},
) {
  const seen = { tooLong: 0, ends: [] as SharedEnd[] }
  const shared = sharedStream(reply, {
    operation: chat,
    maxKeptBytes,
    budget,
    onTooLong: () => (seen.tooLong += 1),
    settle: (end) => seen.ends.push(end),
  })
  return { shared, seen }
}

function open(shared: SharedStream, signal: AbortSignal = never) {
  const over: [StreamOutcome, unknown?][] = []
  const events = shared.open(signal, (...how) => over.push(how))
  if (events === undefined) throw new Error('The beginning is not kept')
  return { events, over }
}

const textOf = (events: readonly StreamEvent[] | undefined) =>
  Buffer.concat((events ?? []).map(({ bytes }) => bytes)).toString()

async function rest(events: EventSource): Promise<string> {
  let text = ''
  for (let came = await events.read(); came !== undefined; came = await events.read()) text += textOf(came)
  return text
}

describe('a shared stream', () => {
  test('gives the source’s own events to all at its tip, from one read', async () => {
    const model = playedStream()
    const { shared } = sharing(model.reply)
    const readers = [open(shared), open(shared), open(shared)]
    const reads = readers.map(({ events }) => events.read())
    model.send(chunk('one'))
    const [first, ...others] = await Promise.all(reads)
    expect(first?.length).toBe(1)
    for (const other of others) expect(other).toBe(first)
    expect(model.reads).toBe(1)
  })

  test('gives who comes later the same bytes, cut into the same events, and looks into none of them again', async () => {
    const played = streamOf(['one ', 'two ', 'three'])
    const { shared } = sharing(played)
    const first = open(shared)
    const came: StreamEvent[] = []
    for (let events = await first.events.read(); events !== undefined; events = await first.events.read()) {
      came.push(...events)
    }
    const lookedInto = played.parses
    const second = open(shared)
    const later: StreamEvent[] = []
    for (let events = await second.events.read(); events !== undefined; events = await second.events.read()) {
      later.push(...events)
    }
    expect(later.map(({ bytes }) => textOf([{ bytes } as StreamEvent]))).toEqual(
      came.map(({ bytes }) => textOf([{ bytes } as StreamEvent])),
    )
    expect(played.parses).toBe(lookedInto)
    expect(lookedInto).toBeLessThanOrEqual(came.length)
  })

  test('ends for a reader at once, also under a pending read, and its source with the last', async () => {
    const model = playedStream()
    const { shared } = sharing(model.reply)
    const [one, two] = [open(shared), open(shared)]
    const reads = [one.events.read(), two.events.read()]
    one.events.cancel('enough')
    expect(one.over).toEqual([['client_left', 'enough']])
    expect(await reads[0]).toBeUndefined()
    expect(await one.events.read()).toBeUndefined()
    expect(model.cancelled).toBeUndefined()
    model.send(chunk('goes on'))
    expect(textOf(await reads[1])).toContain('goes on')
    const pending = two.events.read()
    two.events.cancel()
    shared.cancel('all left')
    // In the same turn.
    expect(model.cancelled).toEqual({ reason: 'all left' })
    expect(await pending).toBeUndefined()
    expect(await shared.ended).toMatchObject({ whole: undefined, fault: { failure: { code: 'client_left' } } })
  })

  test('breaks off, under a pending read, for who has left or was ended by the gateway', async () => {
    const lost: Refusal = { kind: 'refusal', code: 'slot_lost', status: 503, message: '' }
    const cases = [
      [undefined, 'client_left', 'client_left'],
      [new RequestEnded('slot_lost', lost), 'slot_lost', 'broken'],
    ] as const
    for (const [reason, code, how] of cases) {
      const { shared } = sharing(playedStream().reply)
      const leaving = new AbortController()
      const { events, over } = open(shared, leaving.signal)
      const read = events.read()
      leaving.abort(reason)
      await expect(read).rejects.toMatchObject({ failure: { code } })
      await expect(events.read()).rejects.toMatchObject({ failure: { code } })
      expect(over).toEqual([[how, leaving.signal.reason]])
    }
  })

  test('is settled before a reader is told of its end', async () => {
    const { shared, seen } = sharing(streamOf(['one']))
    const { events, over } = open(shared)
    await rest(events)
    expect(seen.ends.length).toBe(1)
    expect(seen.ends[0]?.attempts.length).toBe(1)
    expect([over, shared.isOver()]).toEqual([[['complete']], true])
  })

  test('waits for what its call took: the end that the source tells', async () => {
    const played = streamOf(['one'])
    const gate = Promise.withResolvers<void>()
    const { shared, seen } = sharing({ events: played.events, ended: gate.promise.then(() => played.ended) })
    const reading = rest(open(shared).events)
    await settled()
    expect([seen.ends, shared.isOver()]).toEqual([[], false])
    gate.resolve()
    expect(textIn(await reading)).toBe('one')
    expect(seen.ends[0]?.whole?.usage?.tokens).toMatchObject({ output: 7 })
  })

  test('that all have left is whole where its source says so: its last event had come', async () => {
    const played = eventsOf([`${chunk('one', 'stop')}data: [DONE]\n\n`])
    const { shared } = sharing(played)
    const { events } = open(shared)
    expect(textOf(await events.read())).toContain('[DONE]')
    events.cancel()
    shared.cancel(undefined)
    const { whole } = await shared.ended
    expect(whole?.answer()?.json()).toMatchObject({ choices: [{ message: { content: 'one' } }] })
  })

  test('that all have left under a pending read is not taken for whole: its last events may have been on their way', async () => {
    const { promise: read, resolve: deliver } = Promise.withResolvers<undefined>()
    const { shared } = sharing({
      events: { read: () => read, cancel: () => deliver(undefined) },
      ended: Promise.resolve({ how: 'complete', attempts: [] }),
    })
    const { events } = open(shared)
    const pending = events.read()
    events.cancel()
    shared.cancel(undefined)
    expect([await pending, (await shared.ended).whole]).toEqual([undefined, undefined])
  })

  test('breaks for its readers by a defect in the reading of its events', async () => {
    const defect = new TypeError('x is not a function')
    const bad: StreamEvent = {
      bytes: Buffer.from('data: {}\n\n'),
      name: undefined,
      get json(): never {
        throw defect
      },
    }
    const { promise: ended, resolve: end } = Promise.withResolvers<StreamEnd>()
    const { shared } = sharing({
      events: { read: async () => [bad], cancel: () => end({ how: 'client_left', attempts: [] }) },
      ended,
    })
    const { events } = open(shared)
    await expect(rest(events)).rejects.toBe(defect)
  })

  test('is not whole where its end says that it is not', async () => {
    const played = streamOf(['one'])
    const { shared } = sharing({
      events: played.events,
      ended: played.ended.then((end) => ({ ...end, how: 'broken' as const })),
    })
    await expect(rest(open(shared).events)).rejects.toBeInstanceOf(BrokenStream)
    expect((await shared.ended).whole).toBeUndefined()
  })

  test.each([10, 300_000])('adds up to the answer, of few bytes and of many: words of %i characters', async (size) => {
    const words = ['a', 'b', 'c'].map((letter) => letter.repeat(size))
    const { shared } = sharing(streamOf(words), { maxKeptBytes: 10_000_000, budget: byteBudget(10_000_000) })
    const whole = await shared.collect(never)
    expect(whole?.answer()?.json()).toMatchObject({ choices: [{ message: { content: words.join('') } }] })
    expect(whole?.answer()).toBe(whole?.answer())
    expect(whole?.usage?.tokens).toMatchObject({ output: 7 })
  })

  test('that is let go can’t be opened any more, so that nobody gets less than all', async () => {
    const { shared } = sharing(streamOf(['one']))
    await rest(open(shared).events)
    shared.shut()
    expect(shared.open(never, () => {})).toBeUndefined()
  })

  test('keeps, with all others of the process, no more than they may together', async () => {
    const budget = byteBudget(5_000)
    const words = Array.from({ length: 40 }, () => 'x'.repeat(10))
    const [one, two] = [sharing(streamOf(words), { budget }), sharing(streamOf(words), { budget })]
    const [first, second] = [open(one.shared), open(two.shared)]
    for (const { events } of [first, second]) await events.read()
    expect(textIn(await rest(first.events))).toBe(words.join(''))
    expect(textIn(await rest(second.events))).toBe(words.join(''))
    expect(one.seen.tooLong + two.seen.tooLong).toBe(2)
    expect(await one.shared.collect(never)).toBeUndefined()
    // What the two had taken is given back.
    expect([budget.take(5_000), budget.take(1)]).toEqual([true, false])
  })

  test('breaks off who falls further behind the quickest than what is kept', async () => {
    const words = Array.from({ length: 30 }, () => 'x'.repeat(1_000))
    const { shared } = sharing(streamOf(words), { maxKeptBytes: 10_000 })
    const [quick, slow] = [open(shared), open(shared)]
    await slow.events.read()
    expect(textIn(await rest(quick.events))).toBe(words.join(''))
    expect(slow.over).toEqual([['broken', undefined]])
    await expect(slow.events.read()).rejects.toMatchObject({ failure: { code: 'too_slow' } })
  })
})
