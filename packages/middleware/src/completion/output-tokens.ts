import type { ChatChunk, ChatDelta } from './chat-events.ts'

/** Fields of a delta that hold what a model has written or thought; `role` is none. */
const OUTPUT = ['content', 'reasoning_content', 'reasoning', 'refusal', 'tool_calls', 'function_call', 'audio'] as const

/** Tokens that a chunk brings, at the least: one for each choice that goes on. */
export function leastTokens({ choices }: ChatChunk): number {
  return choices.filter(({ delta }) => delta !== undefined && delta !== null && carriesOutput(delta)).length
}

function carriesOutput(delta: ChatDelta): boolean {
  return OUTPUT.some((field) => {
    const value = delta[field]
    return typeof value === 'string' || Array.isArray(value)
      ? value.length > 0
      : typeof value === 'object' && value !== null
  })
}
