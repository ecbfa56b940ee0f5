import type { Usage } from '../../pipeline/index.ts'
import { isJson, type Json } from '../body.ts'
import { answerMade } from '../json-answer.ts'
import type { Answer, Assembler } from '../operation.ts'
import type { StreamEvent } from '../stream-event.ts'
import { isCount } from '../usage.ts'
import { isIdentifying } from './message.ts'
import { choiceIndex } from './stream.ts'

/**
 * Puts the events of a stream together, as they come, as the chat completion that the model would have sent whole. Takes
 * chunks of any shape: never throws, and changes nothing in them. Their own objects are in the answer: not to be changed.
 *
 * - Of the answer's fields, the last that says something stands: not null, `''`, `{}`, `[]`, or a `created` of 0. What
 *   says nothing is kept where nothing else comes. A usage is not replaced by a lower one. `obfuscation` is padding against eavesdroppers, and is left out.
 * - Choices stand in the order of their `index`, or of their place in the chunk where they have none.
 * - In a choice, objects are merged field by field, arrays are joined (`logprobs`), and anything else is replaced.
 * - In a message, strings are joined too, but for those that identify (`isIdentifying`). Elements of an array that have
 *   the same whole `index` are pieces of one. A tool call loses that index, since one in a plain answer has none.
 * - A null never replaces anything. Pieces that don't fit each other are put side by side in an array, where a string
 *   is a part of type `text`, as in a message's content.
 */
export function chatAssembler(): Assembler {
  const head = new Map<string, unknown>()
  const choices = new Map<number, ChoiceAssembler>()

  function addChoices(pieces: readonly unknown[]): void {
    for (const [place, choice] of pieces.entries()) {
      if (!isJson(choice)) continue
      const index = choiceIndex(choice, place)
      const known = choices.get(index) ?? choiceAssembler(index)
      choices.set(index, known)
      known.add(choice)
    }
  }

  return {
    add({ json }: StreamEvent): void {
      for (const name in json) {
        const value = json[name]
        if (name === 'choices') addChoices(Array.isArray(value) ? value : [])
        else if (name !== 'obfuscation') head.set(name, lastOf(head.get(name), value, name))
      }
    },
    answer(usage: Usage | undefined): Answer | undefined {
      if (choices.size === 0) return undefined
      const ordered = [...choices].sort(([a], [b]) => a - b).map(([, choice]) => choice.choice())
      return answerMade({ ...Object.fromEntries(head), object: 'chat.completion', choices: ordered }, usage)
    },
  }
}

/** Merging goes no deeper into objects: what is below is put side by side. No service comes near. */
const MAX_DEPTH = 32

/** What has come of a value: at first as it came, and in the assembler's own form once a second piece has come. */
type Part = Whole | Fields | List
interface Whole {
  readonly kind: 'whole'
  readonly value: unknown
}
/** A map, since `__proto__` is a name like another in JSON. */
interface Fields {
  readonly kind: 'fields'
  readonly parts: Map<string, Part>
}
interface List {
  readonly kind: 'list'
  readonly parts: Part[]
  /** Where the elements are that have an `index`. */
  readonly places: Map<number, number>
}

/** Whether the string of this name is joined, not replaced. */
type Joins = (name: string) => boolean
const inMessage: Joins = (name) => !isIdentifying(name)
const inChoice: Joins = () => false

interface ChoiceAssembler {
  add(choice: Json): void
  choice(): Json
}

/** The fields of a choice that are not merely merged. */
const KNOWN = new Set(['index', 'delta', 'message'])

function choiceAssembler(index: number): ChoiceAssembler {
  const message = new Map<string, Part>()
  const others = new Map<string, Part>()
  let toolCalls: List | undefined
  let whole: object | undefined

  function addDelta(delta: object): void {
    for (const [name, value] of Object.entries(delta)) {
      if (name === 'tool_calls' && Array.isArray(value) && value.length > 0) {
        toolCalls ??= { kind: 'list', parts: [], places: new Map() }
        // One by one: two pieces of a call may come in one array.
        for (const call of value) extend(toolCalls, [call], 1, inMessage)
      } else mergeField(message, name, value, 0, inMessage)
    }
  }

  return {
    add(choice) {
      for (const [name, value] of Object.entries(choice)) {
        if (name === 'delta' && isJson(value)) addDelta(value)
        else if (name === 'message' && isJson(value)) whole = value
        else if (!KNOWN.has(name)) mergeField(others, name, value, 0, inChoice)
      }
    },
    choice() {
      const told = objectOf(message)
      if (toolCalls !== undefined) told.tool_calls = plainCalls(made(toolCalls), told.tool_calls)
      // Some services repeat the message so far beside each delta; one that only does that has told all in the last.
      const empty = Object.keys(told).length === 0
      return {
        index,
        message: empty && whole !== undefined ? whole : told,
        ...objectOf(others),
      }
    },
  }
}

/** In the order of their index, and without it; then those that had none, and what came in place of an array. */
function plainCalls(calls: unknown, besides: unknown): unknown[] {
  const place = (call: unknown) => indexOf(call) ?? Number.MAX_SAFE_INTEGER
  const plain = (calls as unknown[])
    .toSorted((a, b) => place(a) - place(b))
    .map((call) => {
      if (!isJson(call) || !isIndex(call.index)) return call
      const { index: _index, ...rest } = call
      return rest
    })
  return besides === undefined || besides === null || isEmpty(besides) ? plain : [...plain, besides]
}

/** Of a field that is sent whole each time. */
function lastOf(known: unknown, value: unknown, name: string): unknown {
  if (value === null || value === undefined) return known === undefined ? value : known
  const saysNothing =
    isEmpty(value) || (name === 'created' && value === 0) || (name === 'usage' && isLowerUsage(value, known))
  return saysNothing && known !== undefined && known !== null ? known : value
}

function isLowerUsage(value: unknown, known: unknown): boolean {
  const tokens = (usage: unknown) =>
    isJson(usage) ? sumOf([usage.prompt_tokens, usage.completion_tokens].filter(isCount)) : -1
  return tokens(value) < tokens(known)
}

function sumOf(counts: readonly number[]): number {
  return counts.reduce((sum, count) => sum + count, 0)
}

function mergeField(fields: Map<string, Part>, name: string, value: unknown, depth: number, joins: Joins): void {
  const known = fields.get(name)
  fields.set(name, known === undefined ? { kind: 'whole', value } : merge(known, value, name, depth, joins))
}

function merge(known: Part, value: unknown, name: string, depth: number, joins: Joins): Part {
  if (value === null || value === undefined) return known
  const before = known.kind === 'whole' ? known.value : known
  if (before === null || before === undefined) return { kind: 'whole', value }
  if (isEmpty(value)) return known
  if (before === '' || isScalar(before)) return { kind: 'whole', value }
  if (isScalar(value)) return known
  if (typeof before === 'string' && typeof value === 'string') {
    return { kind: 'whole', value: joins(name) ? before + value : value }
  }
  if (known.kind === 'whole' && isEmpty(before)) return { kind: 'whole', value }
  const fields = isJson(value) && depth < MAX_DEPTH ? fieldsOf(known) : undefined
  if (fields !== undefined) {
    for (const [field, piece] of Object.entries(value)) mergeField(fields.parts, field, piece, depth + 1, joins)
    return fields
  }
  const list = listOf(known)
  if (typeof value === 'string') addText(list, value)
  else extend(list, Array.isArray(value) ? value : [value], depth + 1, joins)
  return list
}

/** Adds elements. Those of one array stay apart, whatever their index: only a later array can bring their pieces. */
function extend(list: List, elements: readonly unknown[], depth: number, joins: Joins): void {
  const { parts, places } = list
  const known = parts.length
  for (const value of elements) {
    const index = depth <= MAX_DEPTH ? indexOf(value) : undefined
    const place = index === undefined ? undefined : places.get(index)
    const part = place === undefined || place >= known ? undefined : parts[place]
    if (place !== undefined && part !== undefined) parts[place] = merge(part, value, '', depth, joins)
    else {
      if (index !== undefined) places.set(index, parts.length)
      parts.push({ kind: 'whole', value })
    }
  }
}

function addText({ parts }: List, text: string): void {
  const last = parts.at(-1)
  const part = { type: 'text', text }
  if (last !== undefined && isText(last)) parts[parts.length - 1] = merge(last, part, '', 0, inMessage)
  else parts.push({ kind: 'whole', value: part })
}

function isText(part: Part): boolean {
  return fieldOf(part, 'type') === 'text' && typeof fieldOf(part, 'text') === 'string'
}

function fieldOf(part: Part, name: string): unknown {
  if (part.kind !== 'fields') return part.kind === 'whole' && isJson(part.value) ? part.value[name] : undefined
  const field = part.parts.get(name)
  return field?.kind === 'whole' ? field.value : undefined
}

function fieldsOf(part: Part): Fields | undefined {
  if (part.kind !== 'whole') return part.kind === 'fields' ? part : undefined
  if (!isJson(part.value)) return undefined
  return {
    kind: 'fields',
    parts: new Map(Object.entries(part.value).map(([name, value]) => [name, { kind: 'whole', value }])),
  }
}

function listOf(part: Part): List {
  if (part.kind === 'list') return part
  const list: List = { kind: 'list', parts: [], places: new Map() }
  if (part.kind === 'whole' && Array.isArray(part.value)) extend(list, part.value, 0, inMessage)
  else if (part.kind === 'whole' && typeof part.value === 'string') addText(list, part.value)
  else list.parts.push(part)
  return list
}

function made(part: Part): unknown {
  if (part.kind === 'whole') return part.value
  return part.kind === 'list' ? part.parts.map(made) : objectOf(part.parts)
}

/** Makes own properties of all names, `__proto__` too. */
function objectOf(parts: ReadonlyMap<string, Part>): Record<string, unknown> {
  return Object.fromEntries([...parts].map(([name, part]) => [name, made(part)]))
}

function isScalar(value: unknown): boolean {
  return typeof value === 'number' || typeof value === 'boolean'
}

function isEmpty(value: unknown): boolean {
  if (Array.isArray(value)) return value.length === 0
  return value === '' || (isJson(value) && Object.keys(value).length === 0)
}

function indexOf(element: unknown): number | undefined {
  return isJson(element) && isIndex(element.index) ? element.index : undefined
}

function isIndex(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0
}
