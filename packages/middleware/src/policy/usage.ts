import * as z from 'zod'
import { duration, durationMs } from './duration.ts'

/* How long the ledger keeps what. */

/** In milliseconds. */
export interface UsageKept {
  /** The row of each request. */
  readonly detailMs: number
  /** The figures of each hour and day. Those of months are kept for good. */
  readonly hoursMs: number
}

const SHORTEST = '1h'
const LONGEST = '400d'
const DEFAULTS = { detail: '30d', hours: '400d' }

const bounded = duration.refine(
  (text) => durationMs(text) >= durationMs(SHORTEST) && durationMs(text) <= durationMs(LONGEST),
  `must be from ${SHORTEST} to ${LONGEST}.`,
)

export const usageSchema = z
  .strictObject({
    detail: bounded.optional().describe(`How long the row of each request is kept (${DEFAULTS.detail}).`),
    hours: bounded
      .optional()
      .describe(
        `How long the figures of each hour and day are kept (${DEFAULTS.hours}), at least as long as the detail.`,
      ),
  })
  .describe('What the ledger of usage keeps, and for how long.')

type UsageDocument = z.infer<typeof usageSchema>

export function usageFaults({ detail = DEFAULTS.detail, hours = DEFAULTS.hours }: UsageDocument = {}): string[] {
  if (durationMs(hours) >= durationMs(detail)) return []
  return [`usage.hours: must be at least as long as usage.detail, ${detail}. Make it longer, or the detail shorter.`]
}

export function resolveUsage({ detail = DEFAULTS.detail, hours = DEFAULTS.hours }: UsageDocument = {}): UsageKept {
  return { detailMs: durationMs(detail), hoursMs: durationMs(hours) }
}
