import type { Time } from '../../pipeline/index.ts'
import type { LimiterUnavailable } from './unavailable.ts'

export interface OutageOptions {
  readonly time: Pick<Time, 'now'>
  /** A number in [0, 1), for jitter. */
  readonly random: () => number
  /** Told once, until it works again. */
  readonly began?: ((cause: unknown) => void) | undefined
  readonly ended?: ((failedMs: number, failures: number) => void) | undefined
}

/** Whether the store fails, as far as the last flights tell. */
export interface Outage {
  landed(outcome: 'ok' | LimiterUnavailable): void
  /** For how long it has been failing, in milliseconds; `undefined` while it works. */
  lasts(): number | undefined
  /** Whether to ask now: while it fails one may, now and then, and whoever comes between is told at once. */
  mayAsk(): boolean
}

const PROBE_MS = 1_000

export function outage({ time, random, began, ended }: OutageOptions): Outage {
  let failing: { readonly since: number; failures: number; probeAt: number } | undefined
  return {
    landed(outcome) {
      const before = failing
      if (outcome === 'ok') {
        failing = undefined
        if (before !== undefined) ended?.(time.now() - before.since, before.failures)
      } else if (outcome.code === 'store_failed') {
        failing ??= { since: time.now(), failures: 0, probeAt: 0 }
        failing.failures += 1
        failing.probeAt = time.now() + PROBE_MS * (0.75 + 0.25 * random())
        if (before === undefined) began?.(outcome.cause)
      }
    },
    lasts: () => (failing === undefined ? undefined : time.now() - failing.since),
    mayAsk() {
      if (failing === undefined) return true
      if (time.now() < failing.probeAt) return false
      failing.probeAt = time.now() + PROBE_MS
      return true
    },
  }
}
