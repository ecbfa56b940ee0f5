/* Figures for people. Programs get exact ones (`--json`, `--csv`). */

const NANO = 1e9

/** A sum in a table: three digits below a dollar, cents below a thousand. What is above nothing never reads as nothing. */
export function dollars(nanoUsd: number): string {
  if (nanoUsd === 0) return '$0'
  const usd = nanoUsd / NANO
  if (usd < 0.01) return '<$0.01'
  if (usd < 0.9995) return `$${usd.toPrecision(3)}`
  if (usd < 999.995) return `$${usd.toFixed(2)}`
  return `$${Math.round(usd).toLocaleString('en-US')}`
}

/** Of a single request: six decimals, and more where there is something behind them. */
export function exactDollars(nanoUsd: number): string {
  if (nanoUsd === 0) return '$0'
  const [whole = '0', decimals = ''] = (nanoUsd / NANO).toFixed(9).split('.')
  return `$${whole}.${decimals.replace(/0{1,3}$/, '')}`
}

const MILLION = 1e6
/** From here on a count is shown in millions. */
const SHORTENED = 10 * MILLION

export function count(units: number): string {
  if (units < SHORTENED) return units.toLocaleString('en-US')
  return units < 1e9 ? `${(units / MILLION).toFixed(1)}M` : `${(units / 1e9).toFixed(2)}B`
}

/** @example 9 ms, 840 ms, 1.84 s, 12 m 5 s */
export function duration(ms: number): string {
  if (ms < 10) return `${Number(ms.toFixed(1))} ms`
  if (ms < 999.5) return `${Math.round(ms)} ms`
  if (ms < 59_995) return `${(ms / 1_000).toFixed(2)} s`
  const seconds = Math.round(ms / 1_000)
  return `${Math.floor(seconds / 60)} m ${seconds % 60} s`
}

/** @example 2026-11-27 14:22:40 UTC */
export function utc(at: number): string {
  return `${new Date(at).toISOString().slice(0, 19).replace('T', ' ')} UTC`
}
