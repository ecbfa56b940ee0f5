import type { Price, Rates, TokenRates } from '../pipeline/index.ts'

/** A price for programs: the unit is told by the field's name. A number in `tiers`, and `zone`, is a multiple. */
export interface PriceJson extends TokenRatesJson {
  readonly tiers?: Readonly<Record<string, number | TokenRatesJson>>
  readonly zone?: number
  readonly usdPerCall?: Readonly<Record<string, number>>
}

export interface TokenRatesJson {
  readonly usdPerMillionTokens: Rates
  readonly above?: { readonly tokens: number; readonly usdPerMillionTokens: Rates }
}

/** A token of one pico-dollar costs a millionth of a dollar a million. */
const PICO_IN_MILLIONTH = 1e6
const PICO_IN_DOLLAR = 1e12
const THOUSANDTHS = 1_000

export function priceJson({ tiers, zone, tools, ...tokens }: Price): PriceJson {
  return {
    ...tokenRatesJson(tokens),
    ...(tiers === undefined
      ? {}
      : { tiers: mapped(tiers, (tier) => (typeof tier === 'number' ? tier / THOUSANDTHS : tokenRatesJson(tier))) }),
    ...(zone === undefined ? {} : { zone: zone / THOUSANDTHS }),
    ...(tools === undefined ? {} : { usdPerCall: mapped(tools, (pico) => pico / PICO_IN_DOLLAR) }),
  }
}

function tokenRatesJson({ rates, above }: TokenRates): TokenRatesJson {
  return {
    usdPerMillionTokens: usd(rates, 1),
    ...(above === undefined
      ? {}
      : { above: { tokens: above.tokens, usdPerMillionTokens: usd(above.rates, above.perPico) } }),
  }
}

function usd(rates: Rates, perPico: number): Rates {
  return mapped(rates, (rate = 0) => rate / (PICO_IN_MILLIONTH * perPico))
}

function mapped<From, To>(map: Readonly<Record<string, From>>, to: (from: From) => To): Record<string, To> {
  return Object.fromEntries(Object.entries(map).map(([name, each]) => [name, to(each)]))
}
