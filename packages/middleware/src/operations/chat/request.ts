import type { ModelRules, TokenKind } from '../../pipeline/index.ts'
import { type Body, isJson, type Json } from '../body.ts'
import type { Bounds, Surcharges } from '../operation.ts'
import { cacheWritesIn, hostedTools, isHosted, tierAsked, WEB_SEARCH } from '../surcharges.ts'

/** A chat completion's request in OpenAI's shape, without its `model`. Fields that we don't know are kept. */
export interface ChatBody {
  readonly messages: readonly ChatMessage[]
  readonly temperature?: number
  readonly max_tokens?: number
  readonly stream?: boolean
  readonly [field: string]: unknown
}

export interface ChatMessage {
  readonly role: string
  readonly content: unknown
}

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

export function fingerprinted({ json }: Body): Json {
  return Object.fromEntries(Object.entries(json).filter(([field]) => !WITHOUT_EFFECT.has(field)))
}

export function isSampled({ json }: Body): boolean {
  return json.temperature !== 0
}

export function offersTools({ json }: Body): boolean {
  return json.tools !== undefined || json.functions !== undefined
}

/**
 * The body as it may be sent: with this bound on its answer where it states none, in the word that the model is known to go by, and for
 * a stream with its usage asked for.
 */
export function bounded(body: Body, maxOutputTokens: number, rules: ModelRules): Body {
  const worded = inItsWord(body, rules)
  const asked = statesOutput(worded.json) ? worded : withOutput(worded, maxOutputTokens, rules.outputField)
  const { stream, stream_options } = body.json
  if (stream !== true || Object(stream_options).include_usage === true) return asked
  return asked.with({ stream_options: { ...Object(stream_options), include_usage: true } })
}

/** The most that a model can take and write; `undefined` where what bounds its answer is no whole number above 0. */
export function bounds(body: Body, { contextWindow }: Pick<ModelRules, 'contextWindow'>): Bounds | undefined {
  const output = outputBound(body.json)
  if (output === undefined) return undefined
  const field = unboundedField(body.json)
  const most = field === undefined ? inputBound(body) : contextWindow
  const input = most === undefined ? undefined : Math.min(most, contextWindow ?? most)
  const predicted = isStated(body.json.prediction) ? Buffer.byteLength(JSON.stringify(body.json.prediction)) : 0
  return {
    input,
    unboundedField: field,
    output: output.each,
    choices: output.choices,
    // Rejected tokens of it are billed as output, in each choice; never more than it has bytes.
    ...(predicted === 0 ? {} : { moreOutput: predicted * output.choices }),
  }
}

/** What moves a request's price: its tier, hosted tools, and what its parts are. */
export function surcharges({ json }: Body): Surcharges {
  const { service_tier: tier, tools, web_search_options, n } = json
  const calls: [string, number][] = []
  // One search for each answer, whose number no answer tells.
  if (isStated(web_search_options)) calls.push([WEB_SEARCH, isPositive(n) ? Number(n) : 1])
  for (const name of hostedTools(tools)) calls.push([name, Number.POSITIVE_INFINITY])
  return {
    tier: tierAsked(tier),
    toolCalls: Object.fromEntries(calls),
    kinds: kindsIn(json),
  }
}

/** The kinds of tokens that a part of a message brings. */
const PART_KINDS: ReadonlyMap<unknown, TokenKind> = new Map([
  ['input_audio', 'audioInput'],
  ['image_url', 'imageInput'],
  ['image', 'imageInput'],
])

function kindsIn(json: Json): readonly TokenKind[] {
  const { messages, modalities } = json
  const kinds = new Set<TokenKind>()
  if (Array.isArray(modalities)) for (const each of modalities) if (each !== 'text') kinds.add(outputKind(each))
  for (const kind of cacheWritesIn(json)) kinds.add(kind)
  if (!Array.isArray(messages)) return [...kinds]
  for (const message of messages) {
    const content = message?.content
    if (!Array.isArray(content)) continue
    for (const part of content) {
      const kind = PART_KINDS.get(part?.type)
      if (kind !== undefined) kinds.add(kind)
      for (const kind of cacheWritesIn(part)) kinds.add(kind)
    }
  }
  return [...kinds]
}

/** What nobody can name is a kind that nobody priced. */
function outputKind(modality: unknown): TokenKind {
  return typeof modality === 'string' ? `${modality}Output` : 'otherOutput'
}

/** The body with another bound for each choice, in the fields that it has; in `field` where it has none. */
export function withOutput(body: Body, each: number, field = 'max_tokens'): Body {
  const fields = OUTPUT_FIELDS.filter((field) => body.json[field] !== undefined)
  return body.with(Object.fromEntries((fields.length === 0 ? [field] : fields).map((field) => [field, each])))
}

const OUTPUT_FIELDS = ['max_completion_tokens', 'max_tokens'] as const

/** What a body allows; `undefined` where it says nothing, or what isn't a whole number above 0. */
function outputBound(body: Json): { readonly each: number; readonly choices: number } | undefined {
  const stated = OUTPUT_FIELDS.map((field) => body[field]).filter(isStated)
  const choices = body.n ?? 1
  if (stated.length === 0 || ![...stated, choices].every(isPositive)) return undefined
  // Where both are there, nobody knows which one a service goes by.
  const each = Math.max(...stated.map(Number))
  return Number.isSafeInteger(each * Number(choices)) ? { each, choices: Number(choices) } : undefined
}

/** The same bound in the one field that the model goes by: in another one it would not hold, and services refuse both together. */
function inItsWord(body: Body, { outputField, isOutputFieldKnown }: ModelRules): Body {
  const other = OUTPUT_FIELDS.find((field) => field !== outputField && body.json[field] !== undefined)
  if (!isOutputFieldKnown || other === undefined) return body
  const { [outputField]: own, [other]: stated } = body.json
  return body.with({ [other]: undefined, ...(isStated(own) || !isStated(stated) ? {} : { [outputField]: stated }) })
}

/** Whether a body says how long its answer may be. */
function statesOutput(body: Json): boolean {
  return OUTPUT_FIELDS.some((field) => isStated(body[field]))
}

function isStated(value: unknown): boolean {
  return value !== undefined && value !== null
}

function isPositive(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 1
}

/** Tokens that templates add to a message beyond the JSON's own frame, and hidden prompts to the whole and to tools. */
const PER_MESSAGE = 8
/** Of these, 128 for hidden prompts; the others are the bytes of a `"model":"…"`, which is put in only where a target is called. */
const PER_REQUEST = 128 + 32
const PER_TOOL = 16
const WITH_TOOLS = 512

/** Fields that hold no input by reference: whatever stands in them is in the body's bytes. */
const BOUNDED: ReadonlySet<string> = new Set([
  'model',
  'messages',
  'tools',
  'tool_choice',
  'parallel_tool_calls',
  'functions',
  'function_call',
  'response_format',
  'stop',
  'stream',
  'stream_options',
  'logit_bias',
  'reasoning',
  'reasoning_effort',
  'thinking',
  'verbosity',
  'user',
  'metadata',
  'store',
  'service_tier',
  'prompt_cache_key',
  'prompt_cache_options',
  'prompt_cache_retention',
  'safety_identifier',
])

/**
 * The most tokens that a model can make of a body's input. Tokens of byte-level BPE, and of vocabularies that fall back
 * to bytes, stand for one byte or more each, so there are never more of them than bytes; JSON's quotes, names and
 * escapes are more than what a chat template puts in their place. Holds where `unboundedField` finds none.
 */
function inputBound({ bytes, json }: Body): number {
  const { messages, tools, functions } = json
  const offered = lengthOf(tools) + lengthOf(functions)
  return (
    bytes.length + PER_REQUEST + lengthOf(messages) * PER_MESSAGE + (offered > 0 ? WITH_TOOLS + offered * PER_TOOL : 0)
  )
}

function lengthOf(list: unknown): number {
  return Array.isArray(list) ? list.length : 0
}

/**
 * The first field by which a model may be given input that the body's bytes don't bound: an image or a file, what a
 * hosted tool finds, what a reference names. `undefined` where there is none. A field that we have never heard of is
 * taken for one, unless it holds a mere number, `true` or `false`.
 */
function unboundedField(body: Json): string | undefined {
  const { messages, tools } = body
  if (!Array.isArray(messages)) return 'messages'
  for (const [index, message] of messages.entries()) {
    const field = unboundedIn(message)
    if (field !== undefined) return field === '' ? `messages[${index}]` : `messages[${index}].${field}`
  }
  if (Array.isArray(tools)) {
    const index = tools.findIndex(isHosted)
    if (index >= 0) return `tools[${index}]`
  }
  for (const field in body) if (!BOUNDED.has(field) && canHoldInput(field, body[field])) return field
  return undefined
}

/** The field of a message; '' for the message itself. */
function unboundedIn(message: unknown): string | undefined {
  if (!isJson(message)) return ''
  const { content, audio } = message
  if (audio !== undefined && audio !== null) return 'audio'
  if (content === undefined || content === null || typeof content === 'string') return undefined
  if (!Array.isArray(content)) return 'content'
  const index = content.findIndex((part) => part?.type !== 'text' && part?.type !== 'refusal')
  return index < 0 ? undefined : `content[${index}]`
}

function canHoldInput(field: string, value: unknown): boolean {
  if (field === 'modalities') return !(Array.isArray(value) && value.every((each) => each === 'text'))
  return typeof value === 'string' || (typeof value === 'object' && value !== null)
}
