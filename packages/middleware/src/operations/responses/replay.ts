import { isJson, type Json } from '../body.ts'
import type { Answer } from '../operation.ts'
import { eventOf, type StreamEvent } from '../stream-event.ts'
import { textPieces } from '../text-pieces.ts'
import type { ResponseAnswer } from './answer.ts'

/**
 * The events in which a service would have streamed this answer, each made when it is asked for, and numbered. Each item is
 * opened without its texts, gets them a few words at a time, and is told whole; the last event holds the whole response, by which a
 * `responseAssembler` makes the same answer again. Items of kinds that have no pieces, and items without an id, which pieces name
 * theirs by, come whole.
 */
export function* replay(answer: Answer): Generator<StreamEvent, void> {
  let number = 0
  for (const { type, ...fields } of eventsOf(answer.json() as unknown as ResponseAnswer & Json)) {
    yield eventOf({ type, sequence_number: number, ...fields }, undefined, type)
    number += 1
  }
}

type Event = Json & { readonly type: string }

function* eventsOf(response: ResponseAnswer & Json): Generator<Event> {
  const begun = { ...response, status: 'in_progress', output: [], usage: null }
  const opened = {
    ...begun,
    ...('completed_at' in begun ? { completed_at: null } : {}),
    ...('incomplete_details' in begun ? { incomplete_details: null } : {}),
  }
  yield { type: 'response.created', response: opened }
  yield { type: 'response.in_progress', response: opened }
  for (const [output_index, item] of response.output.entries()) yield* eventsOfItem(item, output_index)
  yield { type: response.status === 'incomplete' ? 'response.incomplete' : 'response.completed', response }
}

function* eventsOfItem(item: Json, output_index: number): Generator<Event> {
  const open = typeof item.id === 'string' && item.id !== '' ? opening(item) : undefined
  yield { type: 'response.output_item.added', output_index, item: open ?? item }
  if (open !== undefined) yield* piecesOf(item, { item_id: item.id, output_index })
  yield { type: 'response.output_item.done', output_index, item }
}

/** Which item, and where it stands. */
interface Place {
  readonly item_id: unknown
  readonly output_index: number
}

/** The item as it is before its texts come; `undefined` where it can only come whole. */
function opening(item: Json): Json | undefined {
  const status = 'status' in item ? { status: 'in_progress' } : {}
  switch (item.type) {
    case 'message':
      return hasParts(item.content) ? { ...item, ...status, content: [] } : undefined
    case 'reasoning': {
      const { summary, content, ...others } = item
      if (!(isNone(summary) || hasParts(summary)) || !(isNone(content) || hasParts(content))) return undefined
      return {
        ...others,
        ...status,
        ...(isNone(summary) ? ('summary' in item ? { summary } : {}) : { summary: [] }),
        ...(isNone(content) ? ('content' in item ? { content } : {}) : { content: [] }),
      }
    }
    case 'function_call':
      return typeof item.arguments === 'string' ? { ...item, ...status, arguments: '' } : undefined
    case 'custom_tool_call':
      return typeof item.input === 'string' ? { ...item, ...status, input: '' } : undefined
    default:
      return undefined
  }
}

function* piecesOf(item: Json, place: Place): Generator<Event> {
  const { summary, content, name } = item
  switch (item.type) {
    case 'function_call': {
      const type = 'response.function_call_arguments'
      for (const delta of textPieces(String(item.arguments))) yield { type: `${type}.delta`, ...place, delta }
      yield { type: `${type}.done`, ...place, name, arguments: item.arguments }
      return
    }
    case 'custom_tool_call': {
      const type = 'response.custom_tool_call_input'
      for (const delta of textPieces(String(item.input))) yield { type: `${type}.delta`, ...place, delta }
      yield { type: `${type}.done`, ...place, input: item.input }
      return
    }
    default:
      for (const [summary_index, part] of partsOf(summary).entries())
        yield* summaryPieces(part, { ...place, summary_index })
      for (const [content_index, part] of partsOf(content).entries())
        yield* contentPieces(part, { ...place, content_index })
  }
}

function* summaryPieces(part: Json, place: Place & { readonly summary_index: number }): Generator<Event> {
  const { text } = part
  yield { type: 'response.reasoning_summary_part.added', ...place, part: { ...part, text: '' } }
  for (const delta of textPieces(String(text))) yield { type: 'response.reasoning_summary_text.delta', ...place, delta }
  yield { type: 'response.reasoning_summary_text.done', ...place, text }
  yield { type: 'response.reasoning_summary_part.done', ...place, part }
}

function* contentPieces(part: Json, place: Place & { readonly content_index: number }): Generator<Event> {
  yield { type: 'response.content_part.added', ...place, part: emptied(part) }
  if (part.type === 'output_text') {
    const logprobs: unknown[] = []
    for (const delta of textPieces(String(part.text))) {
      yield { type: 'response.output_text.delta', ...place, delta, logprobs }
    }
    for (const [annotation_index, annotation] of partsOf(part.annotations).entries()) {
      yield { type: 'response.output_text.annotation.added', ...place, annotation_index, annotation }
    }
    yield { type: 'response.output_text.done', ...place, text: part.text, logprobs: part.logprobs ?? logprobs }
  } else if (part.type === 'refusal') {
    for (const delta of textPieces(String(part.refusal))) yield { type: 'response.refusal.delta', ...place, delta }
    yield { type: 'response.refusal.done', ...place, refusal: part.refusal }
  } else if (part.type === 'reasoning_text') {
    for (const delta of textPieces(String(part.text))) yield { type: 'response.reasoning_text.delta', ...place, delta }
    yield { type: 'response.reasoning_text.done', ...place, text: part.text }
  }
  yield { type: 'response.content_part.done', ...place, part }
}

function emptied(part: Json): Json {
  switch (part.type) {
    case 'output_text':
      return { ...part, text: '', annotations: [], ...('logprobs' in part ? { logprobs: [] } : {}) }
    case 'refusal':
      return { ...part, refusal: '' }
    case 'reasoning_text':
      return { ...part, text: '' }
    default:
      return part
  }
}

/** The field that holds a part's text. */
const TEXT_FIELDS: Readonly<Record<string, string>> = {
  output_text: 'text',
  refusal: 'refusal',
  reasoning_text: 'text',
  summary_text: 'text',
}

/** Whether a list holds nothing but parts that can come in pieces. */
function hasParts(list: unknown): boolean {
  return (
    Array.isArray(list) &&
    list.every((part) => isJson(part) && typeof part[TEXT_FIELDS[String(part.type)] ?? ''] === 'string')
  )
}

function partsOf(list: unknown): readonly Json[] {
  return Array.isArray(list) ? list : []
}

function isNone(value: unknown): boolean {
  return value === undefined || value === null
}
