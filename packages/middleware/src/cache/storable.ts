import type { ChatAnswer, ChatBody, ChatChoice } from '../operations/index.ts'
import type { CacheRule } from '../policy/index.ts'

/** Ends that make an answer whole: by itself, or at its length. Anything else, a filter's cut among them, is no answer. */
const WHOLE: ReadonlySet<unknown> = new Set(['stop', 'length'])
const CALLS: ReadonlySet<unknown> = new Set(['tool_calls', 'function_call'])

/** Whether all choices that were asked for are there and whole, and none calls a tool unless the route stores that. */
export function isStorable(
  answer: ChatAnswer,
  { rule: { tools }, body }: { readonly rule: Pick<CacheRule, 'tools'>; readonly body: ChatBody },
): boolean {
  if ((answer as { readonly error?: unknown }).error) return false
  if (Number.isInteger(body.n) && answer.choices.length !== body.n) return false
  return answer.choices.every((choice) => {
    const { finish_reason } = choice
    if (WHOLE.has(finish_reason)) return tools || !callsTools(choice)
    return tools && CALLS.has(finish_reason)
  })
}

/** Some services end a call of a tool with `stop`. */
function callsTools({ message }: ChatChoice): boolean {
  const { tool_calls, function_call } = message as { readonly tool_calls?: unknown; readonly function_call?: unknown }
  return (Array.isArray(tool_calls) && tool_calls.length > 0) || Boolean(function_call)
}
