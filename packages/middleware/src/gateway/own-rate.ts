import type { LocalLimiter } from '../limits/index.ts'
import { type Refusal, tooManyRequests } from '../pipeline/index.ts'

/**
 * Counts what costs a consumer nothing of its plan, and this process something: 429 where it comes too often, `undefined` where
 * it may go on.
 *
 * @param say what the refusal tells of the seconds until there is room
 */
export function beyondOwnRate(
  guard: LocalLimiter,
  consumerId: string,
  say: (seconds: number) => Pick<Refusal, 'message' | 'details'>,
): Refusal | undefined {
  const room = guard.reserve(consumerId)
  if (!('retryAfterMs' in room)) {
    room.charge()
    return undefined
  }
  return tooManyRequests(room.retryAfterMs, say(Math.max(1, Math.ceil(room.retryAfterMs / 1_000))))
}
