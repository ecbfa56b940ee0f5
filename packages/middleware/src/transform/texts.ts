import type { ChatMessage } from '../operations/index.ts'

/** Where a text stands. */
export interface Place {
  readonly role: string
  /** Whether it is all that its message says. */
  readonly isWhole: boolean
}

/**
 * The messages with their texts changed: contents that are text, and the `text` parts of those that are lists. All else
 * is passed on as it is: other parts, tool calls, and fields that we don't know. The same array where nothing changed.
 */
export function mapTexts(
  messages: readonly ChatMessage[],
  change: (text: string, place: Place) => string,
): readonly ChatMessage[] {
  return mapped(messages, (message) => {
    const { role, content } = message
    if (typeof content === 'string') {
      const text = change(content, { role, isWhole: true })
      return text === content ? message : { ...message, content: text }
    }
    if (!Array.isArray(content)) return message
    const place = { role, isWhole: content.length === 1 }
    const parts = mapped(content as readonly unknown[], (part) => {
      if (!isTextPart(part)) return part
      const text = change(part.text, place)
      return text === part.text ? part : { ...part, text }
    })
    return parts === content ? message : { ...message, content: parts }
  })
}

/** The same array where nothing changed. */
function mapped<T>(list: readonly T[], change: (each: T) => T): readonly T[] {
  const changed = list.map(change)
  return changed.some((each, index) => each !== list[index]) ? changed : list
}

function isTextPart(part: unknown): part is { readonly text: string } {
  if (typeof part !== 'object' || part === null) return false
  const { type, text } = part as { readonly type?: unknown; readonly text?: unknown }
  return type === 'text' && typeof text === 'string'
}
