import type { PriceDocument } from './model-schema.ts'
import type { Price } from './policy.ts'

/** One USD per million tokens is a millionth of a dollar a token, which is a million pico-dollars. */
const PICO_DOLLARS = 1e6

export function resolvePrice({ input, output, cachedInput = input }: PriceDocument): Price {
  const a = (usd: number) => Math.round(usd * PICO_DOLLARS)
  return { input: a(input), cachedInput: a(cachedInput), output: a(output) }
}

/** The highest of each part, with nothing cheaper for being cached; `undefined` where no model has a price. */
export function worstPrice(prices: readonly Price[]): Price | undefined {
  if (prices.length === 0) return undefined
  const input = Math.max(...prices.map((price) => price.input))
  return { input, cachedInput: input, output: Math.max(...prices.map((price) => price.output)) }
}
