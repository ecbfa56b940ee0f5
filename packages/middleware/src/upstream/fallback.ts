import type { Call, Reply } from '../operations/index.ts'
import type { BaseContext, Facts, Handler } from '../pipeline/index.ts'
import type { Routed } from './route.ts'

/**
 * Asks the same onion again for another model where the first one's service failed: through that model's own limits, cache,
 * budget and price. What both have taken is told together. Not a middleware, since `next` runs once.
 */
export function fallback<Context extends object>(
  inner: Handler<Context & Routed, Call, Reply>,
): Handler<Context & Routed, Call, Reply> {
  return async function fallback(call, context) {
    if (context.routed.fallback === undefined) return inner(call, context)
    let before: Facts = {}
    const tell: BaseContext['tell'] = (facts) => {
      before = { ...before, ...facts }
      context.tell(facts)
    }
    const reply = await inner(call, { ...context, tell })
    if (reply.kind !== 'refused' || !reply.fallible || call.signal.aborted) return reply
    const next = context.routed.fallback()
    if (next === undefined) return reply
    context.tell({ model: next.model.name })
    return inner(call, { ...context, routed: next, tell: adding(before, context.tell) })
  }
}

/** Tells what a call has taken together with what one before it had: else it would stand in that one's place. */
function adding({ usage: before, costNanoUsd: cost }: Facts, tell: BaseContext['tell']): BaseContext['tell'] {
  if (before === undefined) return tell
  return (facts) => {
    const { usage, costNanoUsd = 0 } = facts
    if (usage === undefined) return tell(facts)
    const added = {
      input: before.input + usage.input,
      cachedInput: before.cachedInput + usage.cachedInput,
      output: before.output + usage.output,
    }
    tell({ ...facts, usage: added, ...(cost === undefined ? {} : { costNanoUsd: cost + costNanoUsd }) })
  }
}
