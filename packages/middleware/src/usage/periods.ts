/* Times as the ledger's rows are named by them: UTC. */

export const MINUTE_MS = 60_000
export const HOUR_MS = 3_600_000
export const DAY_MS = 86_400_000

export type Period = 'hour' | 'day' | 'month'

/** When the period that holds this moment began: milliseconds since 1970. */
export function startOf(period: Period, at: number): number {
  if (period === 'hour') return Math.floor(at / HOUR_MS) * HOUR_MS
  if (period === 'day') return Math.floor(at / DAY_MS) * DAY_MS
  const date = new Date(at)
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 1)
}

/** When it ends, which is when the next one begins. */
export function endOf(period: Period, at: number): number {
  if (period === 'hour') return startOf('hour', at) + HOUR_MS
  if (period === 'day') return startOf('day', at) + DAY_MS
  const date = new Date(at)
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 1)
}

/** `2026112720`; of a day `20261127`, of a month `202611`: in the order of time. */
export function nameOf(period: Period, at: number): string {
  const digits = new Date(at).toISOString().replace(/\D/g, '')
  return digits.slice(0, { hour: 10, day: 8, month: 6 }[period])
}

/** When a period of this name began; NaN for what is no such name. */
export function startNamed(name: string): number {
  const [, year, month, day = '01', hour = '00'] = /^(\d{4})(\d\d)(\d\d)?(\d\d)?$/.exec(name) ?? []
  return year === undefined ? Number.NaN : Date.parse(`${year}-${month}-${day}T${hour}:00:00Z`)
}

/** All hours from one moment on and before another, or days, or months: when each began. */
export function* startsOf(period: Period, from: number, before: number): Generator<number> {
  for (let at = startOf(period, from); at < before; at = endOf(period, at)) yield at
}
