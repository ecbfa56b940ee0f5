import type { TokenPrice, TokenUsage } from '../pipeline/index.ts'

const PICO_IN_NANO = 1_000
/** Up to here a sum of whole numbers is exact as a number, with what rounding up adds, and so is the floor of its quotient. */
const EXACT = Number.MAX_SAFE_INTEGER - PICO_IN_NANO

/** Whole nano-dollars, rounded up; what would be too many to count exactly is as many as can be. */
export function costOf(usage: TokenUsage, price: TokenPrice): number {
  const { input, cachedInput, output } = usage
  // No part is below 0: a product that is rounded is above the bound, and the sum with it.
  const pico = (input - cachedInput) * price.input + cachedInput * price.cachedInput + output * price.output
  return pico <= EXACT ? Math.floor((pico + PICO_IN_NANO - 1) / PICO_IN_NANO) : largeCost(usage, price)
}

/**
 * The most output tokens that so many nano-dollars pay for, beside the input: below 0 where they don't pay for that,
 * and infinity where output is free.
 */
export function outputFor(nanoUsd: number, input: number, price: TokenPrice): number {
  const [pico, ofInput] = [nanoUsd * PICO_IN_NANO, input * price.input]
  if (!(Math.abs(pico) <= EXACT && ofInput <= EXACT)) return largeOutput(nanoUsd, input, price)
  if (pico < ofInput) return -1
  return price.output === 0 ? Number.POSITIVE_INFINITY : Math.floor((pico - ofInput) / price.output)
}

function largeCost({ input, cachedInput, output }: TokenUsage, price: TokenPrice): number {
  const pico =
    BigInt(input - cachedInput) * BigInt(price.input) +
    BigInt(cachedInput) * BigInt(price.cachedInput) +
    BigInt(output) * BigInt(price.output)
  return toSafe((pico + BigInt(PICO_IN_NANO) - 1n) / BigInt(PICO_IN_NANO))
}

function largeOutput(nanoUsd: number, input: number, price: TokenPrice): number {
  const left = BigInt(nanoUsd) * BigInt(PICO_IN_NANO) - BigInt(input) * BigInt(price.input)
  if (left < 0n) return -1
  return price.output === 0 ? Number.POSITIVE_INFINITY : toSafe(left / BigInt(price.output))
}

function toSafe(value: bigint): number {
  return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(value)
}
