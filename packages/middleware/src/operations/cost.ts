import { isWritten, type Price, type TokenKind, type TokenRates, tokensRead, type Usage } from '../pipeline/index.ts'

/*
 * Money is counted in whole nano-dollars. A cost is the exact sum of what each token and each call of a tool costs, rounded up
 * once, at its end: what is told, charged and limited is never below what is billed, and never a nano-dollar above it.
 */

const PICO_IN_NANO = 1_000
/** A pico-dollar in parts of a thousand, taken by three factors (a long prompt's, a tier's, a zone's), is so many of these. */
const ZEPTO_IN_PICO = 1_000_000_000n
const ZEPTO_IN_NANO = ZEPTO_IN_PICO * BigInt(PICO_IN_NANO)
const THOUSAND = 1_000

/** What a service calls the tier that is served where none is asked for. */
const USUAL: ReadonlySet<string> = new Set(['default', 'standard', 'auto'])

/** Whether a tier, as an answer or a request names it, is the usual one, which every price has. */
export function isUsualTier(tier: string | undefined): boolean {
  return tier === undefined || USUAL.has(tier)
}

/** Whole nano-dollars, rounded up; what would be too many to count exactly is as many as can be. */
export function costOf(usage: Usage, price: Price): number {
  const { tier } = usage
  if (tier === undefined) return costAt(usage, price, undefined)
  if (isNamed(price, tier)) return costAt(usage, price, tier)
  if (isUsualTier(tier)) return costAt(usage, price, undefined)
  // A tier that nobody priced costs the most that any does.
  const costs = [undefined, ...Object.keys(price.tiers ?? {})].map((each) => costAt(usage, price, each))
  return Math.max(...costs)
}

function isNamed({ tiers }: Price, tier: string): boolean {
  return tiers !== undefined && Object.hasOwn(tiers, tier)
}

function costAt({ tokens, toolCalls }: Usage, price: Price, tier: string | undefined): number {
  const { above } = tableOf(price, tier)
  const line = lineOf(price, tier, above !== undefined && tokensRead(tokens) > above.tokens)
  // No part is below 0: a product that is rounded is above the bound, and the sum with it. One that is no number fails the test.
  let total = 0
  for (const kind in tokens) {
    const count = tokens[kind]
    if (count) total += count * (line.rates[kind] ?? line.highest)
  }
  if (toolCalls !== undefined) {
    for (const tool in toolCalls) total += (toolCalls[tool] ?? 0) * toolRate(line.tools, tool)
  }
  const { perNano } = line
  // Up to there a sum of whole numbers is exact as a number, with what rounding up adds, and so is the floor of its quotient.
  if (total <= Number.MAX_SAFE_INTEGER - perNano) return Math.floor((total + perNano - 1) / perNano)

  let exact = 0n
  const { rates, highest, tools } = line.exact
  for (const kind in tokens) exact += BigInt(tokens[kind] ?? 0) * (rates[kind] ?? highest)
  for (const tool in toolCalls) exact += countOf(toolCalls[tool]) * exactToolRate(tools, tool)
  return toSafe((exact + ZEPTO_IN_NANO - 1n) / ZEPTO_IN_NANO)
}

/** Calls that nobody bounds are more than any money pays for. */
function countOf(calls: number | undefined): bigint {
  return BigInt(Math.min(calls ?? 0, Number.MAX_SAFE_INTEGER))
}

/** A tool that nobody priced costs as much as the dearest one; nothing where there is none. */
function toolRate(tools: Line['tools'], tool: string): number {
  return tools[tool] ?? Math.max(0, ...Object.values(tools))
}

function exactToolRate(tools: ExactLine['tools'], tool: string): bigint {
  return tools[tool] ?? Object.values(tools).reduce((most, rate) => (rate > most ? rate : most), 0n)
}

/** What is asked for beside tokens of the usual kinds. */
export interface WorstCase {
  /** The tiers that may serve. The usual one always may. */
  readonly tiers: readonly string[]
  /** Kinds of tokens beside the usual ones. */
  readonly kinds: readonly TokenKind[]
  /** The most tokens that may be read. */
  readonly input: number
}

/** Kinds that any request can bring, where a price names them: what it doesn't name is settled, and can't be reserved. */
const ALWAYS: readonly TokenKind[] = ['input', 'cachedInput', 'cacheWrite', 'output']

/**
 * What a call costs at the most: a price of `input` and `output` alone, at the highest rates of all tiers that may serve it, of
 * all kinds that it may bring, and of a long prompt where it may be one. Rounded up to whole pico-dollars a token.
 */
export function worstPrice(price: Price, { tiers, kinds, input }: WorstCase): Price {
  let known = worstKnown.get(price)
  if (known === undefined) {
    known = new Map()
    worstKnown.set(price, known)
  }
  // By the price's own names alone, in one order: requests can name anything.
  const served = servedBy(price, tiers)
  const brought = broughtBy(price, kinds)
  const key = `${served.join(' ')}|${brought.join(' ')}`
  let worst = known.get(key)
  if (worst === undefined) {
    worst = worstOf(price, served, brought)
    known.set(key, worst)
  }
  return input > worst.longFrom ? worst.long : worst.short
}

interface Worst {
  readonly short: Price
  readonly long: Price
  /** The fewest tokens beyond which a prompt may be a long one. */
  readonly longFrom: number
}

const worstKnown = new WeakMap<Price, Map<string, Worst>>()

/** The price's tiers that may serve, beside the usual one: all of them for one that nobody priced, which may cost as much. */
function servedBy(price: Price, tiers: readonly string[]): readonly string[] {
  if (tiers.some((tier) => !isNamed(price, tier) && !isUsualTier(tier))) return Object.keys(price.tiers ?? {})
  return tiers.filter((tier) => isNamed(price, tier))
}

/** Kinds that nobody priced are as one, on each side. */
function broughtBy({ rates }: Price, kinds: readonly TokenKind[]): readonly TokenKind[] {
  if (kinds.length === 0) return kinds
  const known = kinds.map((kind) => {
    if (Object.hasOwn(rates, kind)) return kind
    return isWritten(kind) ? 'unpricedOutput' : 'unpricedInput'
  })
  return [...new Set(known)].sort()
}

function worstOf(price: Price, tiers: readonly string[], kinds: readonly TokenKind[]): Worst {
  const served = [undefined, ...tiers]
  const isNamedBy = (tier: string | undefined, kind: TokenKind) => Object.hasOwn(tableOf(price, tier).rates, kind)
  const named = ALWAYS.filter((kind) => served.some((tier) => isNamedBy(tier, kind)))
  const highest = (long: boolean): Price => {
    const rates = { input: 0n, output: 0n }
    for (const tier of served) {
      // Named by one tier's own prices, and not by this one's, a kind costs the highest rate here.
      const missing = named.filter((kind) => !isNamedBy(tier, kind))
      for (const isLong of long ? [false, true] : [false]) {
        const line = exactLine(price, tier, isLong)
        const priced = named.filter((kind) => line.rates[kind] !== undefined)
        for (const kind of [...priced, ...missing, ...kinds]) {
          const side = isWritten(kind) ? 'output' : 'input'
          const rate = line.rates[kind] ?? line.highest
          if (rate > rates[side]) rates[side] = rate
        }
      }
    }
    const pico = (rate: bigint) => toSafe((rate + ZEPTO_IN_PICO - 1n) / ZEPTO_IN_PICO)
    const { tools } = price
    return {
      rates: { input: pico(rates.input), output: pico(rates.output) },
      ...(tools === undefined ? {} : { tools }),
    }
  }
  const thresholds = served.map((tier) => tableOf(price, tier).above?.tokens ?? Number.POSITIVE_INFINITY)
  return { short: highest(false), long: highest(true), longFrom: Math.min(...thresholds) }
}

/**
 * The most output tokens that so many nano-dollars pay for, beside what is read and called: below 0 where they don't pay for
 * that, and infinity where output is free.
 */
export function outputFor(nanoUsd: number, usage: Usage, price: Price): number {
  const left = nanoUsd - costOf(usage, price)
  if (left < 0) return -1
  const rate = price.rates.output ?? 0
  if (rate === 0) return Number.POSITIVE_INFINITY
  // The cost of both together is rounded up once: a part of a nano-dollar may be left for output beside what was read.
  const pico = (left + 1) * PICO_IN_NANO
  let most = Number.isSafeInteger(pico)
    ? Math.floor(pico / rate)
    : toSafe((BigInt(left + 1) * BigInt(PICO_IN_NANO)) / BigInt(rate))
  const isPaid = (output: number) => costOf({ ...usage, tokens: { ...usage.tokens, output } }, price) <= nanoUsd
  while (most > 0 && !isPaid(most)) most -= 1
  return most
}

/** What a table's tokens cost: the tier's own, or the price's. */
function tableOf(price: Price, tier: string | undefined): TokenRates {
  const own = tier === undefined ? undefined : price.tiers?.[tier]
  return typeof own === 'object' ? own : price
}

interface ExactLine {
  /** Whole zepto-dollars a token. */
  readonly rates: Readonly<Record<string, bigint>>
  /** Of the rates: what a token of any other kind costs. */
  readonly highest: bigint
  /** Whole zepto-dollars a call. */
  readonly tools: Readonly<Record<string, bigint>>
}

function exactLine(price: Price, tier: string | undefined, long: boolean): ExactLine {
  const table = tableOf(price, tier)
  const { rates, perPico } = long && table.above !== undefined ? table.above : { rates: table.rates, perPico: 1 }
  const own = tier === undefined ? undefined : price.tiers?.[tier]
  const times = BigInt(typeof own === 'number' ? own : THOUSAND) * BigInt(price.zone ?? THOUSAND)
  const exact = Object.entries(rates).map(
    ([kind, rate = 0]) => [kind, (BigInt(rate) * BigInt(THOUSAND) * times) / BigInt(perPico)] as const,
  )
  return {
    rates: byName(exact),
    highest: exact.reduce((most, [, rate]) => (rate > most ? rate : most), 0n),
    tools: byName(Object.entries(price.tools ?? {}).map(([tool, pico]) => [tool, BigInt(pico) * ZEPTO_IN_PICO])),
  }
}

/** The same in whole numbers as small as they can be, which are exact as long as they are: `NaN` in the place of others. */
interface Line {
  /** So many units are a nano-dollar. */
  readonly perNano: number
  readonly rates: Readonly<Record<string, number>>
  readonly highest: number
  readonly tools: Readonly<Record<string, number>>
  readonly exact: ExactLine
}

/** The lines of a price that were asked for: of the usual tier, and of others by their name. */
interface Lines {
  short: Line | undefined
  long: Line | undefined
  readonly tiers: Map<string, { short: Line | undefined; long: Line | undefined }>
}

const linesKnown = new WeakMap<Price, Lines>()

/** @param tier one that the price names */
function lineOf(price: Price, tier: string | undefined, long: boolean): Line {
  let lines = linesKnown.get(price)
  if (lines === undefined) {
    lines = { short: undefined, long: undefined, tiers: new Map() }
    linesKnown.set(price, lines)
  }
  let own: Pick<Lines, 'short' | 'long'> = lines
  if (tier !== undefined) {
    own = lines.tiers.get(tier) ?? { short: undefined, long: undefined }
    lines.tiers.set(tier, own)
  }
  const length = long ? 'long' : 'short'
  let line = own[length]
  if (line === undefined) {
    line = reduced(exactLine(price, tier, long))
    own[length] = line
  }
  return line
}

function reduced(exact: ExactLine): Line {
  const all = [...Object.values(exact.rates), ...Object.values(exact.tools)]
  let unit = 1n
  while (unit < ZEPTO_IN_NANO && all.every((rate) => rate % (unit * 10n) === 0n)) unit *= 10n
  const whole = (rate: bigint) => {
    const units = Number(rate / unit)
    return Number.isSafeInteger(units) ? units : Number.NaN
  }
  const inUnits = (rates: Readonly<Record<string, bigint>>) =>
    byName(Object.entries(rates).map(([name, rate]) => [name, whole(rate)]))
  return {
    perNano: Number(ZEPTO_IN_NANO / unit),
    rates: inUnits(exact.rates),
    highest: whole(exact.highest),
    tools: inUnits(exact.tools),
    exact,
  }
}

/** Without a prototype: an answer may name a kind or a tool as it likes. */
function byName<Value>(entries: readonly (readonly [string, Value])[]): Readonly<Record<string, Value>> {
  return Object.assign(Object.create(null), Object.fromEntries(entries))
}

function toSafe(value: bigint): number {
  return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(value)
}
