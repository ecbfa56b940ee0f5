import type { TokenUsage } from '../pipeline/index.ts'

export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0
}

/** Whether a usage can be of an answer with output: neither that nor its prompt takes no tokens at all. */
export function isOfOutput({ input, output }: TokenUsage): boolean {
  return input > 0 && output > 0
}

/** The higher of each count. */
export function highest(a: TokenUsage | undefined, b: TokenUsage): TokenUsage {
  if (a === undefined) return b
  return {
    input: Math.max(a.input, b.input),
    cachedInput: Math.max(a.cachedInput, b.cachedInput),
    output: Math.max(a.output, b.output),
  }
}
