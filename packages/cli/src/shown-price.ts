import { type Price, priceJson, type Rates, type TokenRatesJson } from '@tollgate/middleware'

/* A price as a person reads it, and as a program does. Both have the policy's words for its parts. */

/** The titles of `priceCells`. */
export const PRICE_TITLES = ['INPUT', 'CACHED', 'OUTPUT', 'AND']

/** The unit of all figures that are no multiple and no call of a tool. */
export const UNIT_TEXT = 'US dollars per million tokens'

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
