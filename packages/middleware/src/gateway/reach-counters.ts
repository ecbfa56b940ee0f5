import { type CounterStore, type Limiter, LimiterUnavailable } from '../limits/index.ts'
import { OperatorError } from '../pipeline/index.ts'
import type { Limit } from '../policy/index.ts'

/** So small that each claim on it is a look at the store. */
const LIMIT: Limit = {
  kind: 'rate',
  key: 'requests:1000',
  name: 'health',
  measure: 'requests',
  model: undefined,
  quota: 1,
  periodMs: 1_000,
  burst: 0,
  capacity: 1,
  refill: 1,
}
const SUBJECT = { id: 'health', limits: [LIMIT] }

/**
 * Resolves if the counters can be read, and nothing is known to fail on them. A limiter that says that its store fails is
 * made to try it: perhaps nobody has asked for anything since.
 *
 * @throws OperatorError while it fails; what the store threw.
 */
export async function reachCounters(store: CounterStore, limiter: Limiter, signal: AbortSignal): Promise<void> {
  // That there is no such row is an answer.
  await store.read(SUBJECT.id, signal)
  if (limiter.failingFor() !== undefined) {
    await limiter.admit([{ subject: SUBJECT, limit: LIMIT, units: 1 }]).catch((error) => {
      if (!(error instanceof LimiterUnavailable)) throw error
    })
  }
  const failing = limiter.failingFor()
  if (failing !== undefined) {
    throw new OperatorError(`The store of the limits has been failing for ${Math.round(failing / 1000)} s.`)
  }
}
