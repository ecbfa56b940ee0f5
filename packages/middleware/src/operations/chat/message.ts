import { isJson } from '../body.ts'

/** A message, or a piece of one. */
export interface ChatDelta {
  readonly content?: unknown
  readonly refusal?: unknown
  readonly [field: string]: unknown
}

/** What a message, or a piece of one, says to its reader. */
export interface AnswerText {
  /** `null` where it has no text: a call of a tool, say. */
  readonly text: string | null
  /** Whether the model has refused: its text is then why. */
  readonly refusal: boolean
}

/** The text of a message or of a delta. A refusal stands in a field of its own, or in a part. */
export function answerText({ content, refusal }: ChatDelta): AnswerText {
  const inParts = Array.isArray(content) ? refusalIn(content) : ''
  const refused = inParts + (typeof refusal === 'string' ? refusal : '')
  const said = contentText(content)
  return { text: refused === '' ? said : (said ?? '') + refused, refusal: refused !== '' }
}

/** Whether a `content` is one that can be told: a text, none, or parts. */
export function isContent(content: unknown): boolean {
  if (content === undefined || content === null || typeof content === 'string') return true
  return Array.isArray(content) && content.every((part) => typeof part === 'string' || isJson(part))
}

/** Fields of a message or a delta that hold what a model has written or thought; `role` is none. */
const OUTPUT = ['content', 'reasoning_content', 'reasoning', 'refusal', 'tool_calls', 'function_call', 'audio'] as const

/** Whether a message, or a piece of one, holds anything that a model has generated. */
export function carriesOutput(said: ChatDelta | null | undefined): boolean {
  if (said === undefined || said === null) return false
  for (const field of OUTPUT) {
    const value = said[field]
    if (typeof value === 'string' || Array.isArray(value)) {
      if (value.length > 0) return true
    } else if (typeof value === 'object' && value !== null) return true
  }
  return false
}

/** Whether this string of a message says what something is, not what it says: it comes whole, and often again. */
export function isIdentifying(name: string): boolean {
  return IDENTIFYING.has(name) || name.endsWith('_id') || name.endsWith('_type')
}

const IDENTIFYING = new Set(['role', 'id', 'type', 'name', 'object', 'model', 'format', 'status'])

/** Parts that hold text for the reader. What a model thinks, or refers to, is none. */
const TEXT: ReadonlySet<unknown> = new Set(['text', 'output_text', undefined])

function contentText(content: unknown): string | null {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return null
  const texts = content.map((part) => {
    if (typeof part === 'string') return part
    return TEXT.has(part?.type) && typeof part?.text === 'string' ? part.text : undefined
  })
  return texts.every((text) => text === undefined) ? null : texts.join('')
}

function refusalIn(parts: readonly unknown[]): string {
  return parts
    .map((part) => (isJson(part) && part.type === 'refusal' && typeof part.refusal === 'string' ? part.refusal : ''))
    .join('')
}
