import { isJson, type Json } from '../body.ts'
import type { Answer } from '../operation.ts'
import { eventOf, type StreamEvent } from '../stream-event.ts'
import { textPieces } from '../text-pieces.ts'
import type { ChatAnswer, ChatChoice } from './answer.ts'
import { isIdentifying } from './message.ts'

/** What every chunk repeats. */
const HEAD = new Set(['id', 'created', 'model', 'system_fingerprint', 'service_tier'])
const END: StreamEvent = { bytes: Buffer.from('data: [DONE]\n\n'), name: undefined, json: undefined }

/**
 * The events in which a service would have streamed this answer, each made when it is asked for. For each choice: one that
 * opens its message, its texts a few words at a time, its tool calls, and one with its `finish_reason` and what else it has;
 * then the usage, and `[DONE]`. Json that are not known come once, whole.
 *
 * A `chatAssembler` makes the same answer of them, but for what a stream can't tell: the order of choices that don't
 * stand in that of their `index` (it is their place where they have none, or share one), the `index` of a tool call,
 * an `object` that is not `chat.completion`, and `delta` and `obfuscation`, which only chunks have. A choice that has
 * no `finish_reason` gets none here: a stream of it would not look whole, so don't store such an answer.
 */
export function* replay(answer: Answer): Generator<StreamEvent, void> {
  for (const chunk of chunksOf(answer.json() as unknown as ChatAnswer)) yield eventOf(chunk)
  yield END
}

function* chunksOf(answer: ChatAnswer): Generator<Json> {
  const { object: _object, obfuscation: _padding, choices, usage, ...fields } = answer as ChatAnswer & Json
  const entries = Object.entries(fields)
  const head = {
    ...Object.fromEntries(entries.filter(([name]) => HEAD.has(name))),
    object: 'chat.completion.chunk',
  }
  const others = Object.fromEntries(entries.filter(([name]) => !HEAD.has(name)))
  const all = indexed(choices as readonly (ChatChoice & Json)[])

  for (const [place, { index, choice }] of all.entries()) {
    const once = place > 0 ? {} : { ...others, ...(usage === null ? { usage } : {}) }
    yield { ...head, ...once, choices: [{ index, delta: opening(choice.message), finish_reason: null }] }
  }
  for (const { index, choice } of all) {
    const { index: _index, message, delta: _delta, ...last } = choice
    for (const delta of pieces(message)) yield { ...head, choices: [{ index, delta, finish_reason: null }] }
    yield { ...head, choices: [{ index, delta: {}, ...last }] }
  }
  if (usage !== undefined && usage !== null) yield { ...head, choices: [], usage }
}

/** A choice's own index, or its place where a choice has none that is its own. */
function indexed<C extends Json>(choices: readonly C[]): { readonly index: number; readonly choice: C }[] {
  const own = choices.map(({ index }) => Number(index))
  const usable = own.every((index) => Number.isSafeInteger(index) && index >= 0) && new Set(own).size === own.length
  return choices.map((choice, place) => ({ index: usable ? Number(choice.index) : place, choice }))
}

/** The message as far as its first chunk has it: its texts and its tool calls are to come yet. */
function opening(message: Json): Json {
  const { tool_calls: _calls, ...others } = message
  return withoutTexts(toolCallsOf(message).length > 0 ? others : message)
}

/** The deltas after the first: what the model thought, what it said, and the tools that it calls. */
function* pieces(message: Json): Generator<Json> {
  const names = Object.keys(message)
  const thoughts = names.filter((name) => name.startsWith('reasoning'))
  for (const name of new Set([...thoughts, ...names])) yield* textsOf(name, message[name])
  for (const [index, { index: _index, ...call }] of toolCallsOf(message).entries()) {
    yield { tool_calls: [{ index, ...withoutTexts(call) }] }
    for (const [name, value] of Object.entries(call)) {
      for (const piece of textsOf(name, value)) yield { tool_calls: [{ index, ...piece }] }
    }
  }
}

/** None where there is anything else in their place: that is a field like those that are not known. */
function toolCallsOf({ tool_calls }: Json): readonly Json[] {
  return Array.isArray(tool_calls) && tool_calls.every(isJson) ? tool_calls : []
}

/** Objects whose strings come in pieces too. */
const HOLDS_TEXT = new Set(['audio', 'function_call', 'function', 'custom'])

/** An object with its texts empty. */
function withoutTexts(fields: Json, nested = true): Json {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => {
      if (isText(name, value)) return [name, '']
      return [name, nested && HOLDS_TEXT.has(name) && isJson(value) ? withoutTexts(value, false) : value]
    }),
  )
}

/** The texts in a field, piece by piece, each as an object that has that field alone. */
function* textsOf(name: string, value: unknown, nested = true): Generator<Json> {
  if (isText(name, value)) {
    for (const piece of textPieces(value)) yield { [name]: piece }
  } else if (nested && HOLDS_TEXT.has(name) && isJson(value)) {
    for (const [inner, text] of Object.entries(value)) {
      for (const piece of textsOf(inner, text, false)) yield { [name]: piece }
    }
  }
}

function isText(name: string, value: unknown): value is string {
  return typeof value === 'string' && !isIdentifying(name)
}
