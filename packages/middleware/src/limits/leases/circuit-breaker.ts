import type { Time } from '../../pipeline/index.ts'
import type { LimiterUnavailable } from './decision.ts'

export interface CircuitBreakerOptions {
  readonly time: Pick<Time, 'now'>
  /** A number in [0, 1), for jitter. */
  readonly random: () => number
  /** Called once when the store begins to fail. */
  readonly opened?: ((cause: unknown) => void) | undefined
  /** Called once when it works again. */
  readonly closed?: ((failedMs: number, failures: number) => void) | undefined
}

/** Keeps requests from waiting for a store that fails. It is open while the store fails, as far as the last syncs tell. */
export interface CircuitBreaker {
  /** Takes the outcome of a sync. */
  record(outcome: 'ok' | LimiterUnavailable): void
  /** For how long the store has been failing, in milliseconds; `undefined` while it works. */
  openFor(): number | undefined
  /** Whether to ask the store now. While it fails, one probe a second may; every other caller is refused at once. */
  allows(): boolean
}

const PROBE_MS = 1_000

export function circuitBreaker({ time, random, opened, closed }: CircuitBreakerOptions): CircuitBreaker {
  let failing: { readonly since: number; failures: number; probeAt: number } | undefined
  return {
    record(outcome) {
      const before = failing
      if (outcome === 'ok') {
        failing = undefined
        if (before !== undefined) closed?.(time.now() - before.since, before.failures)
      } else if (outcome.code === 'store_failed') {
        failing ??= { since: time.now(), failures: 0, probeAt: 0 }
        failing.failures += 1
        failing.probeAt = time.now() + PROBE_MS * (0.75 + 0.25 * random())
        if (before === undefined) opened?.(outcome.cause)
      }
    },
    openFor: () => (failing === undefined ? undefined : time.now() - failing.since),
    allows() {
      if (failing === undefined) return true
      if (time.now() < failing.probeAt) return false
      failing.probeAt = time.now() + PROBE_MS
      return true
    },
  }
}
