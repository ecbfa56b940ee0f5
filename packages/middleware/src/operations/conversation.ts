import type { Body } from './body.ts'

/**
 * What of a conversation decides which model and which target are asked. Each is found in one pass over the body, and nothing of
 * it is kept.
 */
export interface Conversation {
  /** Its messages, or items of input. */
  turns(body: Body): number
  /** What is said in it: messages, instructions, and what tools gave back. */
  texts(body: Body): Iterable<string>
  /** Tools that it offers to the model. */
  tools(body: Body): readonly unknown[]
  /** Whether the answer is asked for by a JSON schema. */
  hasSchema(body: Body): boolean
  /**
   * Its beginning, which stands in each of its requests: instructions, and the first that its user says. A value as JSON has
   * them.
   */
  opening(body: Body): unknown
}

/** How a list of messages begins: all before the first of a user's, and that. Without one, the first message. */
export function openingOf(messages: readonly unknown[]): readonly unknown[] {
  const first = messages.findIndex((message) => Object(message).role === 'user')
  return messages.slice(0, first + 1 || 1)
}

/** The texts of a message's `content`, or of an item's `output`: of a text itself, of parts those that are texts. */
export function* textsIn(content: unknown): Generator<string, void> {
  if (typeof content === 'string') yield content
  if (!Array.isArray(content)) return
  for (const part of content) {
    const { text, refusal } = Object(part)
    if (typeof text === 'string') yield text
    if (typeof refusal === 'string') yield refusal
  }
}

export function listIn(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : NONE
}

const NONE: readonly unknown[] = []
