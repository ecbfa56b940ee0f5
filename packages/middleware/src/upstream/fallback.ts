import type { Call, Reply } from '../operations/index.ts'
import type { Handler } from '../pipeline/index.ts'
import type { Routed } from './route.ts'

/**
 * Asks the same onion again for another model where the one before has failed: through that model's own limits, cache, budget and
 * price, and so on until one answers or none is left. Each onion tells what its calls took, which the trace adds up. Not a
 * middleware, since `next` runs once.
 */
export function fallback<Context extends object>(
  inner: Handler<Context & Routed, Call, Reply>,
): Handler<Context & Routed, Call, Reply> {
  return async function fallback(call, context) {
    let asked = context
    for (;;) {
      const reply = await inner(call, asked)
      if (reply.kind !== 'refused' || !reply.fallible || call.signal.aborted) return reply
      const next = asked.routed.fallback?.()
      if (next === undefined) return reply
      const { model, reason, route } = next
      context.tell({ model: model.name, reason })
      context.step('route', reason, { route })
      asked = { ...context, routed: next }
    }
  }
}
