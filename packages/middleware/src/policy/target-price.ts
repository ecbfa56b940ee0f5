import type { Price, Rates, Thousandths, TokenRates } from '../pipeline/index.ts'
import { interned } from './interned.ts'

/* What is served at a target costs, and the most that it costs where one of several may serve. */

/** The prices of a target. */
export interface TargetPrices {
  /** What is served there costs; `undefined` where a limit on money must refuse it. */
  readonly price: Price | undefined
  /** What is served elsewhere in its place costs, which is never less; `undefined` where that is the same. */
  readonly spilloverPrice?: Price | undefined
}

/** What a target's tokens cost, by its model's price. */
export function pricesAt(
  price: Price | undefined,
  { ptu, zone }: { readonly ptu: boolean; readonly zone: string | undefined },
): TargetPrices {
  const listed = price && zone === undefined ? withoutZone(price) : price
  if (!ptu || listed === undefined) return { price: listed, spilloverPrice: undefined }
  return { price: provisioned(listed), spilloverPrice: listed }
}

function withoutZone({ zone: _, ...price }: Price): Price {
  return price
}

/** Tokens of every kind and tier are paid for already; calls of hosted tools are not. */
function provisioned({ tools, tiers }: Price): Price {
  return {
    rates: { input: 0, output: 0 },
    ...(tiers === undefined ? {} : { tiers: Object.fromEntries(Object.keys(tiers).map((tier) => [tier, 0])) }),
    ...(tools === undefined ? {} : { tools }),
  }
}

/** The price of each target at its dearest; `undefined` where one has none, and so nothing can be said of all. */
function dearestOfEach(targets: readonly TargetPrices[]): readonly Price[] | undefined {
  const prices = new Set<Price>()
  for (const { price, spilloverPrice = price } of targets) {
    if (spilloverPrice === undefined) return undefined
    prices.add(interned(spilloverPrice))
  }
  return [...prices]
}

/**
 * The most that a request costs which any of these targets may serve: no usage costs less by it than by the price of one of them,
 * what spills over included. Equal targets give the same object. `undefined` where one of them has no price, and where there is none.
 */
export function dearestPrice(targets: readonly TargetPrices[]): Price | undefined {
  const prices = dearestOfEach(targets)
  const [first, ...others] = prices ?? []
  if (prices === undefined || first === undefined || others.length === 0) return first
  // So it mostly is: the targets of a model have its price, and some of them a zone.
  const bases = new Set(prices.map((price) => interned(withoutZone(price))))
  if (bases.size === 1) return prices.reduce((most, price) => (zoneOf(price) > zoneOf(most) ? price : most))
  return interned(highestOf(prices))
}

function zoneOf({ zone = THOUSAND }: Price): Thousandths {
  return zone
}

/** What the price of each of these targets names: nothing else can be promised before one of them is asked. */
export interface PromisedByAll {
  readonly tiers: readonly string[]
  readonly tools: readonly string[]
  readonly covers: readonly string[] | undefined
}

export function promisedByAll(targets: readonly TargetPrices[]): PromisedByAll {
  const [first, ...others] = dearestOfEach(targets) ?? []
  if (first === undefined) return { tiers: [], tools: [], covers: undefined }
  return {
    tiers: Object.keys(first.tiers ?? {}).filter((tier) => others.every(({ tiers }) => names(tiers, tier))),
    tools: Object.keys(first.tools ?? {}).filter((tool) => others.every(({ tools }) => names(tools, tool))),
    covers: first.covers?.filter((field) => others.every(({ covers }) => covers?.includes(field))),
  }
}

function names(map: object | undefined, name: string): boolean {
  return map !== undefined && Object.hasOwn(map, name)
}

const THOUSAND = 1_000

/** Whole pico-dollars a token, by its kind. */
type Line = Readonly<Record<string, number>>

/** What tokens cost, with each multiple in it. */
interface Table {
  readonly short: Line
  /** What they cost where more than `tokens` are read; `short` where length costs nothing. */
  readonly long: Line
  readonly tokens: number
}

/** A price that is the highest of all of these in each kind, tier, length and tool. Its multiples are multiplied out. */
function highestOf(prices: readonly Price[]): Price {
  const tiers = new Set(prices.flatMap((price) => Object.keys(price.tiers ?? {})))
  const tools = new Set(prices.flatMap((price) => Object.keys(price.tools ?? {})))
  const everyTable = prices.flatMap(tablesOf)
  const kinds = new Set(everyTable.flatMap(({ short, long }) => [...Object.keys(short), ...Object.keys(long)]))
  const { covers } = promisedByAll(prices.map((price) => ({ price })))
  return {
    ...highestTable(
      prices.map((price) => tableOf(price, undefined)),
      kinds,
    ),
    ...(tiers.size === 0
      ? {}
      : {
          tiers: Object.fromEntries(
            Array.from(tiers, (tier) => [
              tier,
              highestTable(
                // A tier that a price doesn't name costs the most that any of its own does.
                prices.flatMap((price) => (names(price.tiers, tier) ? [tableOf(price, tier)] : tablesOf(price))),
                kinds,
              ),
            ]),
          ),
        }),
    ...(tools.size === 0
      ? {}
      : {
          tools: Object.fromEntries(
            Array.from(tools, (tool) => [tool, Math.max(...prices.map((price) => toolRate(price, tool)))]),
          ),
        }),
    ...(covers === undefined ? {} : { covers }),
  }
}

/** A tool that a price doesn't name costs as much as its dearest one. */
function toolRate({ tools = {} }: Price, tool: string): number {
  return Object.hasOwn(tools, tool) ? (tools[tool] ?? 0) : Math.max(0, ...Object.values(tools))
}

/** Those of the usual tier and of all others. */
function tablesOf(price: Price): readonly Table[] {
  return [undefined, ...Object.keys(price.tiers ?? {})].map((tier) => tableOf(price, tier))
}

function tableOf(price: Price, tier: string | undefined): Table {
  const own = tier !== undefined && names(price.tiers, tier) ? price.tiers?.[tier] : undefined
  const { rates, above }: TokenRates = typeof own === 'object' ? own : price
  const times = BigInt(typeof own === 'number' ? own : THOUSAND) * BigInt(zoneOf(price))
  const short = multiplied(rates, times, 1)
  if (above === undefined) return { short, long: short, tokens: Number.POSITIVE_INFINITY }
  return { short, long: multiplied(above.rates, times, above.perPico), tokens: above.tokens }
}

/** Rounded up. @param times a tier's multiple, and a zone's: millionths */
function multiplied(rates: Rates, times: bigint, perPico: number): Line {
  const parts = BigInt(THOUSAND * THOUSAND) * BigInt(perPico)
  const pico = (rate: number) => Number((BigInt(rate) * times + parts - 1n) / parts)
  return Object.fromEntries(
    Object.entries(rates).map(([kind, rate]) => [kind, Math.min(pico(rate ?? 0), Number.MAX_SAFE_INTEGER)]),
  )
}

/** @param kinds each is named: one that a table leaves out costs the highest rate there */
function highestTable(tables: readonly Table[], kinds: ReadonlySet<string>): TokenRates {
  const highest = (lines: readonly Line[]): Line =>
    Object.fromEntries(Array.from(kinds, (kind) => [kind, Math.max(...lines.map((line) => rateOf(line, kind)))]))
  const short = tables.map((table) => table.short)
  const rates = highest(short)
  const tokens = Math.min(...tables.map((table) => table.tokens))
  if (!Number.isFinite(tokens)) return { rates }
  return { rates, above: { tokens, rates: highest([...short, ...tables.map(({ long }) => long)]), perPico: 1 } }
}

function rateOf(line: Line, kind: string): number {
  return Object.hasOwn(line, kind) ? (line[kind] ?? 0) : Math.max(0, ...Object.values(line))
}
