import assert from 'node:assert'
import {
  type Answer,
  type Body,
  BrokenStream,
  bodyOf,
  eventsIn,
  type Json,
  type ModelRules,
  type Operation,
  type StreamEvent,
  toldUsage,
} from '@tollgate/middleware'
import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'

/** Numbers from 0 up to but not with the given one. */
export type Random = (below: number) => number

export interface OperationSubject {
  readonly operation: Operation
  /** A request that says nothing of how long its answer may be. */
  readonly request: Json
  /** `false` for an operation that generates nothing, so that no bound holds for its answers. */
  readonly generates?: boolean
  /** A field whose text is of no use to the model, and is counted all the same; `undefined` where there is none. */
  readonly freeForm?: string | undefined
  /** Any answers that a service may give, in a form that its streams can say. */
  readonly answers: fc.Arbitrary<Json>
  /** Bodies of a 200 that are no answer. */
  readonly noAnswers: readonly string[]
  /** `undefined` for an operation that has none. */
  readonly streams?: {
    /** The data of the events in which a service may send an answer. */
    readonly sent: (answer: Json, random: Random) => Iterable<Json>
    /** The data of the event by which it says that there is no more; `undefined` where the last of the answer says so. */
    readonly end: string | undefined
    /** An event with this data; as `data: …` by default. */
    readonly eventText?: (data: Json) => string
    /** Events that carry no answer, with their blank lines. */
    readonly noise: readonly string[]
    /** Events that break a stream, with their blank lines. */
    readonly breaks: readonly string[]
  }
}

const UNKNOWN: ModelRules = {
  contextWindow: undefined,
  outputField: 'max_tokens',
  temperature: true,
  tools: [],
  tiers: [],
}

/** What every operation must keep to. */
export function operationConforms({
  operation,
  request,
  generates = true,
  freeForm,
  answers,
  noAnswers,
  streams,
}: OperationSubject): void {
  afterEach(() => {
    vi.restoreAllMocks()
  })

  const parsedAnswer = (json: Json): Answer => {
    const parsed = operation.parse(Buffer.from(JSON.stringify(json)))
    assert(parsed.kind === 'answer')
    return parsed.answer
  }

  describe(`a request of ${operation.name}`, () => {
    const body = bodyOf(request)
    const bounded = operation.bounded(body, 50, UNKNOWN)

    if (generates) {
      test('is bounded where it says nothing, once, and as it says where it does', () => {
        expect(operation.bounds(bounded, UNKNOWN)).toMatchObject({ output: 50 })
        expect(operation.bounded(bounded, 60, UNKNOWN).json).toEqual(bounded.json)
        for (const each of [1, 49, 1_000_000]) {
          expect(operation.bounds(operation.withOutput(bounded, each), UNKNOWN)).toMatchObject({ output: each })
          expect(
            operation.bounds(operation.bounded(operation.withOutput(body, each), 50, UNKNOWN), UNKNOWN),
          ).toMatchObject({
            output: each,
          })
        }
      })
    } else {
      test('generates nothing, and goes on as it came', () => {
        expect(operation.bounds(body, UNKNOWN)).toMatchObject({ output: 0, choices: 1 })
        expect([bounded, operation.withOutput(body, 7)]).toEqual([body, body])
      })
    }

    test('takes no more input than its bytes and what a service adds, nor than the model’s context window', () => {
      const input = operation.bounds(bounded, UNKNOWN)?.input ?? 0
      expect(input).toBeGreaterThanOrEqual(bounded.bytes.length)
      expect(operation.bounds(bounded, { ...UNKNOWN, contextWindow: 10 })).toMatchObject({ input: 10 })
      expect(operation.bounds(bounded, { ...UNKNOWN, contextWindow: input + 1 })).toMatchObject({ input })
      if (freeForm === undefined) return
      const longer = bounded.with({ [freeForm]: { text: 'x'.repeat(500) } })
      expect(operation.bounds(longer, UNKNOWN)?.input).toBeGreaterThanOrEqual(input + 500)
    })

    test('has an input that nobody can tell where it has a field that we have never heard of', () => {
      const odd = bounded.with({ never_heard_of: 'https://host/file' })
      expect(operation.bounds(odd, UNKNOWN)).toMatchObject({ input: undefined, unboundedField: 'never_heard_of' })
      expect(operation.bounds(odd, { ...UNKNOWN, contextWindow: 900 })).toMatchObject({ input: 900 })
    })

    test('is told apart by each field that we have never heard of, and not by being streamed, if it can be', () => {
      const fingerprint = (each: Body) => operation.fingerprinted(each)
      expect(fingerprint(bounded.with({ never_heard_of: 1 }))).not.toEqual(fingerprint(bounded))
      if (streams !== undefined) expect(fingerprint(bounded.with({ stream: true }))).toEqual(fingerprint(bounded))
      expect(operation.fingerprinted(bounded)).toEqual(fingerprint(bodyOf(JSON.parse(String(bounded.bytes)))))
    })
  })

  describe(`an answer of ${operation.name}`, () => {
    test('is parsed once, and keeps its bytes', () => {
      fc.assert(
        fc.property(answers, (json) => {
          const bytes = Buffer.from(JSON.stringify(json, undefined, 1))
          const parse = vi.spyOn(JSON, 'parse')
          const parsed = operation.parse(bytes)
          assert(parsed.kind === 'answer')
          const told = [parsed.answer.json(), parsed.answer.json()]
          expect(parse).toHaveBeenCalledTimes(1)
          vi.restoreAllMocks()
          assert.deepStrictEqual(told, [json, json])
          expect(parsed.answer.bytes).toBe(bytes)
          expect(parsed.spend.usage).toEqual(parsed.answer.usage)
          expect(parsed.spend.usage === undefined && parsed.spend.isCertain).toBe(false)
        }),
      )
    })

    test('that was parsed before is parsed when it is asked for, once', () => {
      const [json = {}] = fc.sample(answers, 1)
      const bytes = Buffer.from(JSON.stringify(json))
      const usage = { tokens: { input: 1, cachedInput: 0, output: 2 } }
      const parse = vi.spyOn(JSON, 'parse')
      const answer = operation.answerOf(bytes, usage)
      expect([answer.bytes, answer.usage]).toEqual([bytes, usage])
      expect(parse).not.toHaveBeenCalled()
      expect(answer.json()).toBe(answer.json())
      expect(parse).toHaveBeenCalledTimes(1)
    })

    test.each(noAnswers)('is none: %s', (text) => {
      const parse = vi.spyOn(JSON, 'parse')
      const parsed = operation.parse(Buffer.from(text))
      expect(parse.mock.calls.length).toBeLessThanOrEqual(1)
      expect(parsed).toMatchObject({ kind: 'failure', failure: { code: expect.stringMatching(/^[\w.:-]+$/) } })
    })
  })

  if (streams === undefined) {
    test(`a stream of ${operation.name} is no answer`, () => {
      const parser = operation.stream()
      expect([...parser.feed(Buffer.from('data: {}\n\n')), ...parser.close()]).toEqual([])
      expect(parser.ended).toBeInstanceOf(BrokenStream)
    })
    return
  }
  const { sent, end, noise, breaks, eventText = (data) => `data: ${JSON.stringify(data)}\n\n` } = streams

  const endText = end === undefined ? '' : `data: ${end}\n\n`
  const randomOf = (numbers: Iterator<number>): Random => {
    return (below) => numbers.next().value % below
  }
  const seed = fc.infiniteStream(fc.nat())
  /** The events of a stream. */
  const sample = () => {
    const events = fc.tuple(answers, seed).map(([json, numbers]) => [...sent(json, randomOf(numbers))].map(eventText))
    return fc.sample(events, 1)[0] ?? []
  }

  /** Reads a stream in these pieces; `seen` after each. */
  function read(pieces: readonly Uint8Array[], seen: (parser: ReturnType<Operation['stream']>) => void = () => {}) {
    const parser = operation.stream()
    const events: StreamEvent[] = []
    for (const piece of pieces) {
      events.push(...parser.feed(piece))
      seen(parser)
    }
    const early = parser.ended
    events.push(...parser.close())
    seen(parser)
    const { begun, finished, isEmpty, ended, output, told, usage } = parser
    const how = ended instanceof BrokenStream ? ended.failure : ended
    return { events, early, state: { begun, finished, isEmpty, how, output, told, usage } }
  }
  const bytesOf = (events: readonly StreamEvent[]) => Buffer.concat(events.map(({ bytes }) => Buffer.from(bytes)))
  const jsonOf = (events: readonly StreamEvent[]) => events.map(({ json }) => json)
  const assembled = (events: Iterable<StreamEvent>): Answer => {
    const assembler = operation.assembler()
    for (const event of events) assembler.add(event)
    const answer = assembler.answer(undefined)
    assert(answer !== undefined)
    return answer
  }

  /** A stream as a service sends it: an answer's events among others, in any line ending, perhaps broken or cut. */
  const streamed = fc
    .tuple(answers, seed, fc.constantFrom('\n', '\r\n', '\r'), fc.boolean(), fc.option(fc.nat(), { freq: 3 }))
    .map(([answer, numbers, newline, ends, broken]) => {
      const random = randomOf(numbers)
      const events = [...sent(answer, random)].map(eventText)
      for (let more = random(4); more > 0; more -= 1)
        events.splice(random(events.length + 1), 0, noise[random(noise.length)] ?? '')
      if (ends) events.push(endText)
      if (broken !== null) events.splice(broken % events.length, 1, breaks[random(breaks.length)] ?? '')
      return events.join('').replaceAll('\n', newline)
    })
  const cut = (bytes: Buffer, cuts: readonly number[]) => {
    const at = [0, ...cuts.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
    return at.slice(1).map((to, index) => Buffer.from(bytes.subarray(at[index], to)))
  }

  describe(`a stream of ${operation.name}`, () => {
    test('that is made of an answer is whole, and put together it is the same answer; nothing is parsed for it', () => {
      fc.assert(
        fc.property(answers, (json) => {
          const answer = parsedAnswer(json)
          const before = JSON.stringify(json)
          const parse = vi.spyOn(JSON, 'parse')
          const events = [...operation.replay(answer)]
          const again = assembled(events)
          const written = [bytesOf(events), again.bytes] as const
          expect(parse).not.toHaveBeenCalled()
          vi.restoreAllMocks()
          assert.deepStrictEqual(again.json(), json)
          expect(JSON.stringify(answer.json())).toBe(before)

          const { events: received, early, state } = read([written[0]])
          expect([early, state.how, state.finished]).toEqual(['whole', 'whole', true])
          assert.deepStrictEqual(jsonOf(received), jsonOf(events))
          expect(bytesOf(received).equals(written[0])).toBe(true)
          assert.deepStrictEqual(assembled(received).json(), json)
          const parsed = operation.parse(written[1])
          assert(parsed.kind === 'answer')
          assert.deepStrictEqual(parsed.answer.json(), json)
          expect(parsed.answer.usage).toEqual(answer.usage)
        }),
        { numRuns: 500 },
      )
    })

    test('is the same answer however a service sends it, and again after it was streamed from here', () => {
      fc.assert(
        fc.property(answers, seed, (json, numbers) => {
          const events = [...sent(json, randomOf(numbers))].map(eventText)
          const { events: received, state } = read([Buffer.from(events.join(''))])
          expect(state.how).toBe('whole')
          const answer = assembled(received)
          assert.deepStrictEqual(answer.json(), json)
          assert.deepStrictEqual(assembled(operation.replay(answer)).json(), json)
        }),
        { numRuns: 500 },
      )
    })

    test('is parsed an event at a time, each once', () => {
      const events = sample()
      const parser = operation.stream()
      const parse = vi.spyOn(JSON, 'parse')
      for (const [place, event] of events.entries()) {
        expect(jsonOf(parser.feed(Buffer.from(event)))).not.toContain(undefined)
        expect(parse).toHaveBeenCalledTimes(place + 1)
      }
      const [last] = parser.feed(Buffer.from(endText))
      if (end !== undefined) expect([last?.json, String(last?.bytes)]).toEqual([undefined, endText])
      expect(parser.ended).toBe('whole')
      expect(parse).toHaveBeenCalledTimes(events.length)
    })

    test('has the same events at any cut, and keeps the bytes of each as it came', () => {
      fc.assert(
        fc.property(streamed, fc.array(fc.nat(), { maxLength: 12 }), (text, cuts) => {
          const bytes = Buffer.from(text)
          const whole = read([bytes])
          const parts = read(cut(bytes, cuts))
          expect(parts.state).toEqual(whole.state)
          assert.deepStrictEqual(jsonOf(parts.events), jsonOf(whole.events))
          expect(bytesOf(parts.events).equals(bytesOf(whole.events))).toBe(true)
          const stored = [...eventsIn(bytesOf(whole.events))]
          expect(stored.map((event) => String(event.bytes))).toEqual(whole.events.map((event) => String(event.bytes)))
          assert.deepStrictEqual(jsonOf(stored), jsonOf(whole.events))
          expect(stored.map(({ name }) => name)).toEqual(whole.events.map(({ name }) => name))
          // Read again, it is the same stream.
          if (whole.state.how === 'whole') expect(read([bytesOf(whole.events)]).state).toEqual(whole.state)
          for (const line of bytesOf(whole.events).toString().split('\n'))
            expect(text).toContain(line.replace(/^(?:data|event): /, ''))
        }),
        { numRuns: 200 },
      )
    })

    test('is the same byte by byte', () => {
      const bytes = Buffer.from(sample().join('') + endText)
      const [whole, parts] = [read([bytes]), read([...bytes].map((byte) => Uint8Array.of(byte)))]
      assert.deepStrictEqual([parts.state, jsonOf(parts.events)], [whole.state, jsonOf(whole.events)])
      expect(bytesOf(parts.events).equals(bytes)).toBe(true)
    })

    test('tells of tokens that never become fewer', () => {
      fc.assert(
        fc.property(streamed, fc.array(fc.nat(), { maxLength: 12 }), (text, cuts) => {
          let least = { input: 0, cachedInput: 0, output: 0, counted: 0 }
          read(cut(Buffer.from(text), cuts), ({ told, usage, output }) => {
            const now = { ...least, ...(told && toldUsage(told)), counted: output }
            for (const count of ['input', 'cachedInput', 'output', 'counted'] as const) {
              expect(now[count]).toBeGreaterThanOrEqual(least[count])
            }
            if (usage !== undefined) expect(usage).toEqual(told)
            least = now
          })
        }),
      )
    })

    test('ends once: whole, or broken by a code; and what comes after that is of no account', () => {
      fc.assert(
        fc.property(streamed, fc.nat(), (text, place) => {
          const bytes = Buffer.from(text)
          const { state } = read([bytes.subarray(0, place % (bytes.length + 1))])
          if (state.how === 'whole') expect(state.begun).toBe(true)
          else expect(state.how).toEqual({ code: expect.stringMatching(/^[\w.:-]+$/) })
          if (state.finished) expect(state.begun).toBe(true)
          if (state.isEmpty) expect(state.begun).toBe(false)

          const parser = operation.stream()
          parser.feed(bytes)
          parser.close()
          const { ended, told, output } = parser
          expect([...parser.feed(Buffer.from(text)), ...parser.close()]).toEqual([])
          expect([parser.ended, parser.told, parser.output]).toEqual([ended, told, output])
        }),
      )
    })

    test.each(breaks)('is broken by %s', (event) => {
      const { early, events } = read([Buffer.from(sample()[0] + event)])
      expect(early).toBeInstanceOf(BrokenStream)
      expect(events).toHaveLength(1)
    })
  })
}
