import type { ChatAnswer } from './answer.ts'
import { type ChatChunk, chatEvents } from './chat-events.ts'
import { isCount } from './usage.ts'

/** Puts the chunks of a stream together, as they come, as the chat completion that the model would have sent whole. */
export interface AnswerAssembler {
  /** Takes the next chunk, in any shape: never throws, and changes nothing in it. */
  add(chunk: ChatChunk): void
  /** What has come so far; `undefined` while no choice has. The chunks' own objects are in it: not to be changed. */
  answer(): ChatAnswer | undefined
}

/** The chat completion that a whole stream's bytes add up to; `undefined` where no choice is in them. */
export function answerIn(events: Uint8Array): ChatAnswer | undefined {
  const assembler = answerAssembler()
  const reading = chatEvents()
  for (const chunk of reading.feed(events)) assembler.add(chunk)
  for (const chunk of reading.close()) assembler.add(chunk)
  return assembler.answer()
}

/**
 * - Of the answer's fields, the last that says something stands: not null, `''`, `{}`, `[]`, or a `created` of 0. What
 *   says nothing is kept where nothing else comes. A usage is not replaced by a lower one. `obfuscation` is padding against eavesdroppers, and is left out.
 * - Choices stand in the order of their `index`, or of their place in the chunk where they have none.
 * - In a choice, objects are merged field by field, arrays are joined (`logprobs`), and anything else is replaced.
 * - In a message, strings are joined too, but for those that identify (`isIdentifying`). Elements of an array that have
 *   the same whole `index` are pieces of one. A tool call loses that index, since one in a plain answer has none.
 * - A null never replaces anything. Pieces that don't fit each other are put side by side in an array, where a string
 *   is a part of type `text`, as in a message's content.
 */
export function answerAssembler(): AnswerAssembler {
  const head = new Map<string, unknown>()
  const choices = new Map<number, ChoiceAssembler>()

  return {
    add(chunk) {
      for (const [name, value] of Object.entries(chunk)) {
        if (name !== 'choices' && name !== 'obfuscation') head.set(name, lastOf(head.get(name), value, name))
      }
      for (const [place, choice] of chunk.choices.entries()) {
        const index = isIndex(choice.index) ? choice.index : place
        const known = choices.get(index) ?? choiceAssembler(index)
        choices.set(index, known)
        known.add(choice)
      }
    },
    answer() {
      if (choices.size === 0) return undefined
      const ordered = [...choices].sort(([a], [b]) => a - b).map(([, choice]) => choice.choice())
      return { ...Object.fromEntries(head), object: 'chat.completion', choices: ordered }
    },
  }
}

/** Whether this string of a message says what something is, not what it says: it comes whole, and often again. */
export function isIdentifying(name: string): boolean {
  return IDENTIFYING.has(name) || name.endsWith('_id') || name.endsWith('_type')
}

const IDENTIFYING = new Set(['role', 'id', 'type', 'name', 'object', 'model', 'format', 'status'])

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
  add(choice: ChatChunk['choices'][number]): void
  choice(): ChatAnswer['choices'][number]
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
        if (name === 'delta' && isRecord(value)) addDelta(value)
        else if (name === 'message' && isRecord(value)) whole = value
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
      if (!isRecord(call) || !isIndex(call.index)) return call
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
    isRecord(usage) ? sumOf([usage.prompt_tokens, usage.completion_tokens].filter(isCount)) : -1
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
  const fields = isRecord(value) && depth < MAX_DEPTH ? fieldsOf(known) : undefined
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
  if (part.kind !== 'fields') return part.kind === 'whole' && isRecord(part.value) ? part.value[name] : undefined
  const field = part.parts.get(name)
  return field?.kind === 'whole' ? field.value : undefined
}

function fieldsOf(part: Part): Fields | undefined {
  if (part.kind !== 'whole') return part.kind === 'fields' ? part : undefined
  if (!isRecord(part.value)) return undefined
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

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isScalar(value: unknown): boolean {
  return typeof value === 'number' || typeof value === 'boolean'
}

function isEmpty(value: unknown): boolean {
  if (Array.isArray(value)) return value.length === 0
  return value === '' || (isRecord(value) && Object.keys(value).length === 0)
}

function indexOf(element: unknown): number | undefined {
  return isRecord(element) && isIndex(element.index) ? element.index : undefined
}

function isIndex(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0
}
