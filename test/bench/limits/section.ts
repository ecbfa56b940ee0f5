import type { GateName } from './gates/gate.ts'
import type { Workbench } from './workbench.ts'

/** A part of the page. */
export interface Section {
  readonly title: string
  /** How it was measured. */
  readonly method: string
  readonly tables: readonly Table[]
  /** What the figures say, a sentence each. */
  readonly findings: readonly string[]
  readonly bars: readonly Bar[]
  /** For the chart. */
  readonly compared?: readonly Compared[]
}

/** One limiter beside others. */
export interface Compared {
  readonly gate: GateName
  readonly processes: number
  /** For 1,000 requests. */
  readonly transactions: number
  /** The most that it admitted beyond what was allowed, as a share of the capacity; at least 0. */
  readonly over: number
}

export interface Table {
  readonly head: readonly string[]
  readonly rows: readonly (readonly string[])[]
}

/** What must hold, and whether it did. */
export interface Bar {
  readonly what: string
  readonly bar: string
  readonly figure: string
  readonly met: boolean
}

export type Measure = (bench: Workbench) => Promise<Section>

/** A bar that a figure must not pass. */
export function atMost(what: string, figure: number, bar: number, unit = ''): Bar {
  return { what, bar: `≤ ${num(bar)}${unit}`, figure: `${num(figure)}${unit}`, met: figure <= bar }
}

export function atLeast(what: string, figure: number, bar: number, unit = ''): Bar {
  return { what, bar: `≥ ${num(bar)}${unit}`, figure: `${num(figure)}${unit}`, met: figure >= bar }
}

/** A number with three digits that matter, or more before the point. */
export function num(value: number): string {
  if (Number.isNaN(value)) return 'not told'
  if (value === 0) return '0'
  return Math.abs(value) >= 100 || Number.isInteger(value)
    ? Math.round(value).toLocaleString('en')
    : value.toPrecision(3)
}

export function percent(share: number): string {
  return `${num(Math.round(share * 10_000) / 100)} %`
}

/** `1 process`, `8 processes`. */
export function processesOf(count: number): string {
  return count === 1 ? '1 process' : `${count} processes`
}
