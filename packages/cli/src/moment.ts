import { CommandFault } from './command-fault.ts'

const UNITS = { m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const SPAN = /^([1-9]\d{0,4})([mhd])$/
const DATE = /^\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?(?:Z|[+-]\d{2}:\d{2}))?$/

/**
 * A moment that an option names: `now`, a span from now such as `90d`, or a date, in UTC where no zone is given.
 *
 * @returns milliseconds since 1970
 * @throws CommandFault
 */
export function moment(option: string, text: string, now: number): number {
  if (text === 'now') return now
  const [, count, unit] = SPAN.exec(text) ?? []
  if (count !== undefined) return now + Number(count) * UNITS[unit as keyof typeof UNITS]
  const date = DATE.test(text) && isDay(text.slice(0, 10)) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(date)) {
    throw new CommandFault(
      `${option}: '${text}' is neither a span such as 30m, 12h or 90d, nor a date such as 2027-01-31.`,
    )
  }
  return date
}

/** JavaScript takes the 31st of February for the 3rd of March. */
function isDay(text: string): boolean {
  const day = Date.parse(text)
  return !Number.isNaN(day) && new Date(day).toISOString().startsWith(text)
}
