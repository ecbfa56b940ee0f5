import type { TokenUsage } from '../../pipeline/index.ts'
import type { ChatChunk } from './chat-events.ts'
import { leastTokens } from './output-tokens.ts'
import { highest, isOfOutput, usageOf } from './usage.ts'

/** What a streamed answer takes, as its chunks tell it and as far as it can be counted. */
export interface UsageTally {
  add(chunk: ChatChunk): void
  /** Output tokens, at the least: each piece counts as one. */
  readonly counted: number
  /** The most that was told, and no less than was counted; `undefined` where nothing was told. */
  readonly told: TokenUsage | undefined
  /**
   * What is told of all that has come; `undefined` where nobody knows: nothing was told since the last piece, or no
   * tokens beside text.
   */
  readonly usage: TokenUsage | undefined
}

/** A usage never falls: below what this stream told before, or below what was counted. */
export function usageTally(): UsageTally {
  let counted = 0
  let told: TokenUsage | undefined
  let covers = false

  const floored = () => told && { ...told, output: Math.max(told.output, counted) }
  return {
    add(chunk) {
      const tokens = leastTokens(chunk)
      counted += tokens
      if (tokens > 0) covers = false
      const usage = usageOf(chunk.usage)
      if (usage === undefined) return
      told = highest(told, usage)
      if (counted === 0 || isOfOutput(usage)) covers = true
    },
    get counted() {
      return counted
    },
    get told() {
      return floored()
    },
    get usage() {
      return covers ? floored() : undefined
    },
  }
}
