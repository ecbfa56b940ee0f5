import type { Call, Reply } from '../operations/index.ts'
import type { Handler } from '../pipeline/index.ts'
import type { Routed } from './route.ts'

/**
 * Asks the same onion again for another model where the first one's service failed: through that model's own limits, cache,
 * budget and price. Each onion tells what its calls took, which the trace adds up. Not a middleware, since `next` runs once.
 */
export function fallback<Context extends object>(
  inner: Handler<Context & Routed, Call, Reply>,
): Handler<Context & Routed, Call, Reply> {
  return async function fallback(call, context) {
    const reply = await inner(call, context)
    if (reply.kind !== 'refused' || !reply.fallible || call.signal.aborted) return reply
    const next = context.routed.fallback?.()
    if (next === undefined) return reply
    context.tell({ model: next.model.name })
    return inner(call, { ...context, routed: next })
  }
}
