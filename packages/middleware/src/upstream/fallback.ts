import type { Call, Reply } from '../operations/index.ts'
import { type Handler, systemTime, type Time } from '../pipeline/index.ts'
import type { Routed } from './route.ts'

export interface FallbackOptions {
  /** Longest wait for all models together, in milliseconds, until a plain answer is whole or a stream begins; as long as it takes by default. */
  readonly totalMs?: number
  /** The machine's by default: the one that bounds the calls of each model. */
  readonly time?: Pick<Time, 'now'>
}

/**
 * Asks the same onion again for another model where the one before has failed: through that model's own limits, cache, budget and
 * price, and so on until one answers, none is left, or the time of all of them is over. Each onion tells what its calls took, which the trace adds up. Not a
 * middleware, since `next` runs once.
 */
export function fallback<Context extends object>(
  inner: Handler<Context & Routed, Call, Reply>,
  { totalMs = Number.POSITIVE_INFINITY, time = systemTime }: FallbackOptions = {},
): Handler<Context & Routed, Call, Reply> {
  return async function fallback(call, context) {
    const startedAt = time.now()
    let asked = context
    for (;;) {
      const reply = await inner(call, asked)
      if (reply.kind !== 'refused' || !reply.fallible || call.signal.aborted) return reply
      const next = asked.routed.fallback?.()
      if (next === undefined || time.now() - startedAt >= totalMs) return reply
      const { model, reason, route } = next
      context.tell({ model: model.name, reason })
      context.step('route', reason, { route })
      asked = { ...context, routed: { ...next, startedAt } }
    }
  }
}
