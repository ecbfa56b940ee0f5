import type { ChatChunk, ChatDelta } from './chat-events.ts'

/** Fields of a message or a delta that hold what a model has written or thought; `role` is none. */
const OUTPUT = ['content', 'reasoning_content', 'reasoning', 'refusal', 'tool_calls', 'function_call', 'audio'] as const

/** Tokens that a chunk brings, at the least: one for each choice that goes on. */
export function leastTokens({ choices }: ChatChunk): number {
  return choices.filter(({ delta }) => carriesOutput(delta)).length
}

/** Whether a message, or a piece of one, holds anything that a model has generated. */
export function carriesOutput(said: ChatDelta | null | undefined): boolean {
  if (said === undefined || said === null) return false
  return OUTPUT.some((field) => {
    const value = said[field]
    return typeof value === 'string' || Array.isArray(value)
      ? value.length > 0
      : typeof value === 'object' && value !== null
  })
}
