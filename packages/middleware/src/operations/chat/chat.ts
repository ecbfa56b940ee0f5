import { SPEND_UNKNOWN, type Spend } from '../../pipeline/index.ts'
import type { Body, Json } from '../body.ts'
import type { Answer, Assembler, Bounds, ModelRules, Operation, ParsedAnswer, StreamParser } from '../operation.ts'
import { eventsIn, type StreamEvent } from '../stream-event.ts'
import {
  type ChatAnswer,
  type ChatChoice,
  failureOfAnswer,
  readAnswer,
  type ToldUsage,
  usageOfAnswer,
  usageWithoutAnswer,
} from './answer.ts'
import { answerAssembler } from './assemble.ts'
import { type ChatChunk, chatEvents } from './chat-events.ts'
import { outputBound, statesOutput, withOutputBound } from './output-bound.ts'
import { replayEvents } from './replay.ts'
import type { ChatBody } from './request.ts'
import { inputBound, unboundedField } from './token-bound.ts'
import { usageTally } from './usage-tally.ts'

/**
 * Fields that don't change the answer. All others are part of the fingerprint, those that we have never heard of too: a list
 * of fields to include would serve wrong answers the day the API gains a parameter.
 */
export const WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  'stream',
  'stream_options',
  'user',
  'safety_identifier',
  'metadata',
  'store',
  'service_tier',
  'prompt_cache_key',
  'prompt_cache_retention',
  'timeout',
])

/** Ends that make an answer whole: by itself, or at its length. Anything else, a filter's cut among them, is no answer. */
const WHOLE: ReadonlySet<unknown> = new Set(['stop', 'length'])
const CALLS: ReadonlySet<unknown> = new Set(['tool_calls', 'function_call'])

/** OpenAI's chat completions. */
export const chat: Operation = {
  name: 'chat',
  path: '/chat/completions',
  forwards: [],
  bounded(body, maxOutputTokens) {
    const json = body.json as ChatBody
    const asked = statesOutput(json) ? body : chat.withOutput(body, maxOutputTokens)
    if (json.stream !== true) return asked
    return asked.with({ stream_options: { ...Object(json.stream_options), include_usage: true } })
  },
  bounds(body: Body, { contextWindow }: ModelRules): Bounds | undefined {
    const json = body.json as ChatBody
    const output = outputBound(json)
    if (output === undefined) return undefined
    const field = unboundedField(json)
    const most = field === undefined ? inputBound(json) : contextWindow
    const input = most === undefined ? undefined : Math.min(most, contextWindow ?? most)
    return { input, unboundedField: field, output: output.each, choices: output.choices }
  },
  withOutput(body, each) {
    const fields = withOutputBound(body.json as ChatBody, each)
    const { max_tokens, max_completion_tokens } = fields
    return body.with({
      ...(max_tokens === undefined ? {} : { max_tokens }),
      ...(max_completion_tokens === undefined ? {} : { max_completion_tokens }),
    })
  },
  fingerprinted: ({ json }) => Object.fromEntries(Object.entries(json).filter(([field]) => !WITHOUT_EFFECT.has(field))),
  isSampled: ({ json }) => json.temperature !== 0,
  offersTools: ({ json }) => json.tools !== undefined || json.functions !== undefined,
  parse(bytes): ParsedAnswer {
    const text = bytes.toString()
    const answer = readAnswer(text)
    if (answer === undefined) {
      return { kind: 'failure', failure: failureOfAnswer(text), spend: spendOf(usageWithoutAnswer(text)) }
    }
    const told = usageOfAnswer(answer)
    return { kind: 'answer', answer: answerOf(bytes, answer, told?.usage), spend: spendOf(told) }
  },
  answerOf: (bytes, usage) => answerOf(bytes, undefined, usage),
  isStorable(answer, { body, tools }) {
    const json = answer.json() as unknown as ChatAnswer & { readonly error?: unknown }
    if (json.error) return false
    if (Number.isInteger(body.json.n) && json.choices.length !== body.json.n) return false
    return json.choices.every((choice) => {
      if (WHOLE.has(choice.finish_reason)) return tools || !callsTools(choice)
      return tools && CALLS.has(choice.finish_reason)
    })
  },
  stream: streamParser,
  assembler(): Assembler {
    const assembler = answerAssembler()
    return {
      add({ json }) {
        if (json !== undefined) assembler.add(json as unknown as ChatChunk)
      },
      answer(usage) {
        const answer = assembler.answer()
        return answer && answerOf(Buffer.from(JSON.stringify(answer)), answer, usage)
      },
    }
  },
  *replay(answer) {
    for (const event of replayEvents(answer.json() as unknown as ChatAnswer)) yield* eventsIn(Buffer.from(event))
  },
}

function answerOf(bytes: Buffer, parsed: ChatAnswer | undefined, usage: Answer['usage']): Answer {
  let json = parsed as Json | undefined
  return {
    bytes,
    usage,
    json() {
      json ??= JSON.parse(bytes.toString()) as Json
      return json
    },
  }
}

function spendOf(told: ToldUsage | undefined): Spend {
  return told ?? SPEND_UNKNOWN
}

function streamParser(): StreamParser {
  let data: Buffer[] = []
  const events = chatEvents((bytes) => data.push(Buffer.from(bytes)))
  const tally = usageTally()
  let toldOutput = 0
  const took = (chunks: readonly ChatChunk[]): StreamEvent[] => {
    for (const chunk of chunks) {
      tally.add(chunk)
      if (!events.finished) toldOutput = tally.told?.output ?? 0
    }
    const taken = data
    data = []
    return taken.flatMap((each) => [
      ...eventsIn(Buffer.from(`data: ${each.toString().replaceAll('\n', '\ndata: ')}\n\n`)),
    ])
  }
  return {
    feed: (bytes) => took(events.feed(bytes)),
    close: () => took(events.close()),
    get begun() {
      return events.begun
    },
    get finished() {
      return events.finished
    },
    get isEmpty() {
      return events.isEmpty
    },
    get ended() {
      return events.ended
    },
    get output() {
      return Math.max(tally.counted, toldOutput)
    },
    get told() {
      return tally.told
    },
    get usage() {
      return tally.usage
    },
  }
}

/** Some services end a call of a tool with `stop`. */
function callsTools({ message }: ChatChoice): boolean {
  const { tool_calls, function_call } = message as { readonly tool_calls?: unknown; readonly function_call?: unknown }
  return (Array.isArray(tool_calls) && tool_calls.length > 0) || Boolean(function_call)
}
