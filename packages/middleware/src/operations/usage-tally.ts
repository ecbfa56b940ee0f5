import type { TokenUsage } from '../pipeline/index.ts'
import { highest, isOfOutput } from './token-usage.ts'

/**
 * What a streamed answer takes, as its events tell it and as far as it can be counted. A usage never falls: below what this
 * stream told before, or below what was counted.
 */
export class UsageTally {
  /** Output tokens, at the least: each piece counts as one. */
  counted = 0
  #told: TokenUsage | undefined
  #covers = false

  /**
   * @param usage what an event tells; `undefined` where it tells nothing
   * @param tokens those that the event brings, at the least
   */
  add(usage: TokenUsage | undefined, tokens: number): void {
    this.counted += tokens
    if (tokens > 0) this.#covers = false
    if (usage === undefined) return
    this.#told = highest(this.#told, usage)
    if (this.counted === 0 || isOfOutput(usage)) this.#covers = true
  }

  /** The most that was told, and no less than was counted; `undefined` where nothing was told. */
  get told(): TokenUsage | undefined {
    return this.#told && { ...this.#told, output: Math.max(this.#told.output, this.counted) }
  }
  /**
   * What is told of all that has come; `undefined` where nobody knows: nothing was told since the last piece, or no
   * tokens beside text.
   */
  get usage(): TokenUsage | undefined {
    return this.#covers ? this.told : undefined
  }
}
