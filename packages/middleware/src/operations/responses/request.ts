import type { ModelRules, TokenKind } from '../../pipeline/index.ts'
import { type Body, isJson, type Json } from '../body.ts'
import type { Bounds, Surcharges } from '../operation.ts'
import { cacheWritesIn, hostedTools, isHosted, tierAsked } from '../surcharges.ts'

/**
 * Fields that don't change the answer. A response repeats most fields of its request (`metadata`, `user`, `service_tier`, …), so
 * those do: who sends other ones must not be given these.
 */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set(['stream', 'stream_options', 'timeout'])

export function fingerprinted({ json }: Body): Json {
  return Object.fromEntries(Object.entries(json).filter(([field]) => !WITHOUT_EFFECT.has(field)))
}

export function isSampled({ json }: Body): boolean {
  return json.temperature !== 0
}

export function offersTools({ json }: Body): boolean {
  return json.tools !== undefined && json.tools !== null
}

/** The body with a bound on its answer, this where it states none. A stream tells its usage unasked. */
export function bounded(body: Body, maxOutputTokens: number): Body {
  return isNone(body.json.max_output_tokens) ? withOutput(body, maxOutputTokens) : body
}

export function withOutput(body: Body, each: number): Body {
  return body.with({ max_output_tokens: each })
}

/** The most that a model can take and write, with what it thinks; `undefined` where its bound is no whole number above 0. */
export function bounds(body: Body, { contextWindow }: Pick<ModelRules, 'contextWindow'>): Bounds | undefined {
  const output = body.json.max_output_tokens
  if (!isCountAbove0(output)) return undefined
  const field = unboundedField(body.json)
  const most = field === undefined ? inputBound(body) : contextWindow
  const each = most === undefined ? undefined : Math.min(most, contextWindow ?? most)
  const input = each === undefined ? undefined : each * readings(body.json)
  return { input: Number.isSafeInteger(input) ? input : undefined, unboundedField: field, output, choices: 1 }
}

/** How often the model may read its input: once, and again with what each call of a hosted tool has brought. */
function readings(body: Json): number {
  return hostedTools(body.tools).length === 0 ? 1 : 1 + toolCallsBound(body)
}

/** The most calls of hosted tools, all of them together; infinity where nothing bounds them. */
function toolCallsBound({ max_tool_calls }: Json): number {
  return isCountAbove0(max_tool_calls) ? max_tool_calls : Number.POSITIVE_INFINITY
}

/** What moves a request's price: its tier, hosted tools, and what its parts are. */
export function surcharges({ json }: Body): Surcharges {
  const { service_tier: tier } = json
  return {
    tier: tierAsked(tier),
    toolCalls: Object.fromEntries(hostedTools(json.tools).map((name) => [name, toolCallsBound(json)])),
    kinds: kindsIn(json),
  }
}

/** The kinds of tokens that a part of an item brings. */
const PART_KINDS: ReadonlyMap<unknown, TokenKind> = new Map([
  ['input_image', 'imageInput'],
  ['computer_screenshot', 'imageInput'],
  ['input_audio', 'audioInput'],
])

function kindsIn(json: Json): readonly TokenKind[] {
  const { input } = json
  const kinds = new Set<TokenKind>()
  for (const kind of cacheWritesIn(json)) kinds.add(kind)
  for (const item of Array.isArray(input) ? input : []) {
    for (const parts of [item?.content, item?.output]) {
      for (const part of Array.isArray(parts) ? parts : [parts]) {
        const kind = PART_KINDS.get(part?.type)
        if (kind !== undefined) kinds.add(kind)
        for (const kind of cacheWritesIn(part)) kinds.add(kind)
      }
    }
  }
  return [...kinds]
}

function isCountAbove0(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 1
}

function isNone(value: unknown): boolean {
  return value === undefined || value === null
}

/** Tokens that templates add to an item beyond the JSON's own frame, and hidden prompts to the whole and to tools: as chat's. */
const PER_ITEM = 8
const PER_REQUEST = 128 + 32
const PER_TOOL = 16
const WITH_TOOLS = 512

/**
 * The most tokens that a model can make of a body's input, which are never more than its bytes and what templates add. What a
 * model thought comes back encrypted, in base64: its text is shorter than that.
 */
function inputBound({ bytes, json }: Body): number {
  const { input, tools } = json
  const offered = lengthOf(tools)
  return bytes.length + PER_REQUEST + lengthOf(input) * PER_ITEM + (offered > 0 ? WITH_TOOLS + offered * PER_TOOL : 0)
}

function lengthOf(list: unknown): number {
  return Array.isArray(list) ? list.length : 0
}

/** Fields that hold no input by reference: whatever stands in them is in the body's bytes. */
const BOUNDED: ReadonlySet<string> = new Set([
  'model',
  'input',
  'instructions',
  'tools',
  'tool_choice',
  'parallel_tool_calls',
  'text',
  'reasoning',
  'include',
  'truncation',
  'stream',
  'stream_options',
  'store',
  'user',
  'metadata',
  'service_tier',
  'prompt_cache_key',
  'prompt_cache_options',
  'prompt_cache_retention',
  'safety_identifier',
])

/**
 * The first field by which a model may be given input that the body's bytes don't bound: an image or a file, what a hosted tool
 * finds, what a reference names. `undefined` where there is none. A field that we have never heard of is taken for one, unless
 * it holds a mere number, `true` or `false`.
 */
function unboundedField(body: Json): string | undefined {
  const { input, tools } = body
  if (Array.isArray(input)) {
    for (const [index, item] of input.entries()) {
      const field = unboundedIn(item)
      if (field !== undefined) return field === '' ? `input[${index}]` : `input[${index}].${field}`
    }
  } else if (typeof input !== 'string') return 'input'
  if (Array.isArray(tools)) {
    const index = tools.findIndex(isHosted)
    if (index >= 0) return `tools[${index}]`
  }
  for (const field in body) if (!BOUNDED.has(field) && canHoldInput(body[field])) return field
  return undefined
}

/** Items that are text and calls of the caller's own tools. */
const BOUNDED_ITEMS: ReadonlySet<unknown> = new Set([
  'message',
  'function_call',
  'function_call_output',
  'custom_tool_call',
  'custom_tool_call_output',
  'reasoning',
])

/** Parts of an item that are text. */
const TEXT: ReadonlySet<unknown> = new Set([
  'input_text',
  'output_text',
  'text',
  'refusal',
  'summary_text',
  'reasoning_text',
])

/** The field of an item; '' for the item itself. */
function unboundedIn(item: unknown): string | undefined {
  if (!isJson(item)) return ''
  const { type = 'role' in item ? 'message' : undefined, content, output } = item
  if (!BOUNDED_ITEMS.has(type)) return ''
  return unboundedPart('content', content) ?? unboundedPart('output', output)
}

function unboundedPart(name: string, value: unknown): string | undefined {
  if (isNone(value) || typeof value === 'string') return undefined
  if (!Array.isArray(value)) return name
  const index = value.findIndex((part) => !TEXT.has(part?.type))
  return index < 0 ? undefined : `${name}[${index}]`
}

function canHoldInput(value: unknown): boolean {
  return typeof value === 'string' || (typeof value === 'object' && value !== null)
}
