import type { Limit, Measure } from '../policy/index.ts'

const UNITS: Readonly<Record<Exclude<Measure, 'money'>, string>> = {
  requests: '',
  tokens: ' tokens',
  input: ' input tokens',
  output: ' output tokens',
  concurrency: ' at once',
}

/** So many units of what a limit counts, in words. */
export function amount(measure: Measure, units: number): string {
  return measure === 'money' ? `${usd(units)} USD` : `${units}${UNITS[measure]}`
}

/** A limit's size as the policy states it: `10 per 1m, burst 5`. */
export function sizeText(limit: Limit): string {
  const size = amount(limit.measure, limit.quota)
  switch (limit.kind) {
    case 'rate':
      return `${size} per ${periodText(limit.periodMs)}${limit.burst > 0 ? `, burst ${limit.burst}` : ''}`
    case 'budget':
      return `${size} per ${limit.per}`
    case 'concurrency':
      return size
  }
}

/** Never less than it is: `6 s`, `12 min`, `3 h 20 min`, `4 d 1 h`. */
export function waitText(seconds: number): string {
  if (seconds <= 120) return `${seconds} s`
  const minutes = Math.ceil(seconds / 60)
  if (minutes < 60) return `${minutes} min`
  if (minutes < 24 * 60) return pair(Math.floor(minutes / 60), 'h', minutes % 60, 'min')
  const hours = Math.ceil(minutes / 60)
  return pair(Math.floor(hours / 24), 'd', hours % 24, 'h')
}

function pair(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`
}

const PERIODS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
] as const

function periodText(ms: number): string {
  for (const [unit, length] of PERIODS) if (ms % length === 0) return `${ms / length}${unit}`
  return `${ms}ms`
}

/** Dollars of nano-dollars, exactly, with no more decimals than they need. */
function usd(nano: number): string {
  const digits = String(nano).padStart(10, '0')
  const decimals = digits.slice(-9).replace(/0+$/, '')
  return decimals === '' ? digits.slice(0, -9) : `${digits.slice(0, -9)}.${decimals}`
}
