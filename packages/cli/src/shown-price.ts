import type { Price, Rates, TokenRates } from '@tollgate/middleware'

/* A price as a person reads it, and as a program does. Both have the policy's words for its parts. */

/** The titles of `priceCells`. */
export const PRICE_TITLES = ['INPUT', 'CACHED', 'OUTPUT', 'AND']

/** The unit of all figures that are no multiple and no call of a tool. */
export const UNIT_TEXT = 'US dollars per million tokens'

/** A program is told the unit by the field's name. A number in `tiers`, and `zone`, is a multiple. */
export interface PriceJson extends TokenRatesJson {
  readonly tiers?: Readonly<Record<string, number | TokenRatesJson>>
  readonly zone?: number
  readonly usdPerCall?: Readonly<Record<string, number>>
}

interface TokenRatesJson {
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

export function priceCells(price: Price): string[] {
  const { usdPerMillionTokens, above, tiers = {}, zone, usdPerCall = {} } = priceJson(price)
  const { input, cachedInput, output, ...others } = usdPerMillionTokens
  const more = [
    ...ratesText(others),
    ...aboveText(usdPerMillionTokens, above),
    ...Object.entries(tiers).map(([tier, said]) => `${tier} ${typeof said === 'number' ? `${said}x` : tierText(said)}`),
    ...(zone === undefined ? [] : [`zone ${zone}x`]),
    ...Object.entries(usdPerCall).map(([tool, dollars]) => `${tool} ${dollars} a call`),
  ]
  return [cell(input), cell(cachedInput), cell(output), more.join('; ')]
}

/** Of a long prompt, what costs another price. */
function aboveText(usual: Rates, above: TokenRatesJson['above']): string[] {
  if (above === undefined) return []
  const { tokens, usdPerMillionTokens } = above
  const changed = Object.entries(usdPerMillionTokens).filter(([kind, rate]) => usual[kind as keyof Rates] !== rate)
  return [`above ${tokens} tokens ${ratesText(Object.fromEntries(changed)).join(', ')}`]
}

function tierText({ usdPerMillionTokens, above }: TokenRatesJson): string {
  return [...ratesText(usdPerMillionTokens), ...aboveText(usdPerMillionTokens, above)].join(', ')
}

function ratesText(rates: Rates): string[] {
  return Object.entries(rates).map(([kind, rate]) => `${kind} ${rate}`)
}

function cell(rate: number | undefined): string {
  return rate === undefined ? '' : String(rate)
}

function mapped<From, To>(map: Readonly<Record<string, From>>, to: (from: From) => To): Record<string, To> {
  return Object.fromEntries(Object.entries(map).map(([name, each]) => [name, to(each)]))
}
