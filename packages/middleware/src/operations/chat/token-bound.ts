import type { ChatBody, ChatMessage } from './request.ts'

/** Tokens that templates add to a message beyond the JSON's own frame, and hidden prompts to the whole and to tools. */
const PER_MESSAGE = 8
const PER_REQUEST = 128
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
  'prompt_cache_retention',
  'safety_identifier',
])

/**
 * The most tokens that a model can make of a body's input. Tokens of byte-level BPE, and of vocabularies that fall back
 * to bytes, stand for one byte or more each, so there are never more of them than bytes; JSON's quotes, names and
 * escapes are more than what a chat template puts in their place. Holds where `unboundedField` finds none.
 */
export function inputBound(body: ChatBody): number {
  const bytes = Buffer.byteLength(JSON.stringify(body))
  const tools = lengthOf(body.tools) + lengthOf(body.functions)
  return bytes + PER_REQUEST + body.messages.length * PER_MESSAGE + (tools > 0 ? WITH_TOOLS + tools * PER_TOOL : 0)
}

function lengthOf(list: unknown): number {
  return Array.isArray(list) ? list.length : 0
}

/**
 * The first field by which a model may be given input that the body's bytes don't bound: an image or a file, what a
 * hosted tool finds, what a reference names. `undefined` where there is none. A field that we have never heard of is
 * taken for one, unless it holds a mere number, `true` or `false`.
 */
export function unboundedField(body: ChatBody): string | undefined {
  for (const [index, message] of body.messages.entries()) {
    const field = unboundedIn(message)
    if (field !== undefined) return `messages[${index}].${field}`
  }
  if (Array.isArray(body.tools)) {
    const index = body.tools.findIndex((tool) => tool?.type !== 'function' && tool?.type !== 'custom')
    if (index >= 0) return `tools[${index}]`
  }
  return Object.entries(body).find(([field, value]) => !BOUNDED.has(field) && canHoldInput(field, value))?.[0]
}

function unboundedIn(message: ChatMessage): string | undefined {
  const { content, audio } = message as ChatMessage & { readonly audio?: unknown }
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
