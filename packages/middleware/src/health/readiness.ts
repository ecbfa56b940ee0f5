import { describeFault, withDeadline } from '../pipeline/index.ts'

/** Something that the gateway can't work without. */
export interface Check {
  readonly name: string
  /** Rejects when it isn't there. What it resolves to is not looked at. */
  readonly run: (signal: AbortSignal) => Promise<unknown>
}

export interface Readiness {
  readonly ready: boolean
  readonly checks: Readonly<Record<string, 'ok' | 'failed'>>
}

export interface ReadinessOptions {
  readonly checks: readonly Check[]
  /** A check that takes longer has failed, in milliseconds. */
  readonly deadlineMs: number
  /** How long an outcome is told again without another look, in milliseconds. */
  readonly maxAgeMs: number
  /** Milliseconds on a monotonic clock. */
  readonly now: () => number
}

/** Told of each failed check, with its kind and place: a caller of the health page is told the name alone. */
export type OnFailure = (check: string, fault: Readonly<Record<string, unknown>>) => void

/**
 * Runs all checks at once. Whoever asks meanwhile gets the same outcome, and so does whoever asks within its age: anyone
 * may ask as often as they like, and storage and model see one look an age.
 */
export function readiness(options: ReadinessOptions): (onFailure: OnFailure) => Promise<Readiness> {
  const { checks, deadlineMs, maxAgeMs, now } = options
  let last: { readonly outcome: Promise<Readiness>; until: number } | undefined

  async function look(onFailure: OnFailure): Promise<Readiness> {
    const outcomes = await Promise.all(
      checks.map(async ({ name, run }) => {
        try {
          await withDeadline(deadlineMs, run)
          return [name, 'ok'] as const
        } catch (error) {
          onFailure(name, describeFault(error))
          return [name, 'failed'] as const
        }
      }),
    )
    return { ready: outcomes.every(([, outcome]) => outcome === 'ok'), checks: Object.fromEntries(outcomes) }
  }

  return (onFailure) => {
    if (last === undefined || now() >= last.until) {
      // Nobody starts another look while this one lasts, and its age begins with its end.
      const mine = { outcome: look(onFailure), until: Number.POSITIVE_INFINITY }
      last = mine
      const age = () => {
        mine.until = now() + maxAgeMs
      }
      void mine.outcome.then(age, age)
    }
    return last.outcome
  }
}
