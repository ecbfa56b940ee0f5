/** What a message, or a piece of one, says to its reader. */
export interface AnswerText {
  /** `null` where it has no text: a call of a tool, say. */
  readonly text: string | null
  /** Whether the model has refused: its text is then why. */
  readonly refusal: boolean
}

export interface Said {
  readonly content?: unknown
  readonly refusal?: unknown
}

/** The text of a message or of a delta. A refusal stands in a field of its own, or in a part. */
export function answerText({ content, refusal }: Said): AnswerText {
  const inParts = Array.isArray(content) ? refusalIn(content) : ''
  const refused = inParts + (typeof refusal === 'string' ? refusal : '')
  const said = contentText(content)
  return { text: refused === '' ? said : (said ?? '') + refused, refusal: refused !== '' }
}

/** Whether a `content` is one that can be told: a text, none, or parts. */
export function isContent(content: unknown): boolean {
  if (content === undefined || content === null || typeof content === 'string') return true
  return Array.isArray(content) && content.every((part) => typeof part === 'string' || isRecord(part))
}

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
    .map((part) => (isRecord(part) && part.type === 'refusal' && typeof part.refusal === 'string' ? part.refusal : ''))
    .join('')
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
