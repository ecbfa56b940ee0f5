import * as z from 'zod'

const UNITS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

const DURATION = /^([1-9]\d{0,5})([smhd])$/

const RULE = 'must be a duration such as 30s, 1m, 2h or 1d'

/** A whole number of seconds, minutes, hours or days: `30s`, `1m`, `2h`, `1d`. What is none is checked no further. */
export const duration = z.string({ error: RULE }).regex(DURATION, { error: RULE, abort: true })

/** Milliseconds of a duration. @throws RangeError for any other text. */
export function durationMs(text: string): number {
  const [, count, unit] = DURATION.exec(text) ?? []
  if (count === undefined || unit === undefined)
    throw new RangeError(`'${text}' is not a duration such as 30s, 1m or 2h`)
  return Number(count) * UNITS[unit as keyof typeof UNITS]
}
