import type { TokenPrice, TokenUsage } from '../pipeline/index.ts'

const PICO_IN_NANO = 1_000n

/** Whole nano-dollars, rounded up; what would be too many to count exactly is as many as can be. */
export function costOf({ input, cachedInput, output }: TokenUsage, price: TokenPrice): number {
  const pico =
    BigInt(input - cachedInput) * BigInt(price.input) +
    BigInt(cachedInput) * BigInt(price.cachedInput) +
    BigInt(output) * BigInt(price.output)
  return toSafe((pico + PICO_IN_NANO - 1n) / PICO_IN_NANO)
}

/**
 * The most output tokens that so many nano-dollars pay for, beside the input: below 0 where they don't pay for that,
 * and infinity where output is free.
 */
export function outputFor(nanoUsd: number, input: number, price: TokenPrice): number {
  const left = BigInt(nanoUsd) * PICO_IN_NANO - BigInt(input) * BigInt(price.input)
  if (left < 0n) return -1
  return price.output === 0 ? Number.POSITIVE_INFINITY : toSafe(left / BigInt(price.output))
}

function toSafe(value: bigint): number {
  return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(value)
}
