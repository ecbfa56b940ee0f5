import { tokensWritten, type Usage } from '../pipeline/index.ts'
import type { Json } from './body.ts'
import { highest } from './tokens.ts'
import { isOfOutput, servedBy } from './usage.ts'

/**
 * What a streamed answer takes, as its events tell it and as far as it can be counted. A usage never falls: below what this
 * stream told before, or below what was counted.
 */
export class UsageTally {
  /** Output tokens, at the least: each piece counts as one. */
  counted = 0
  #told: Usage | undefined
  #served: Pick<Usage, 'tier' | 'model'> = {}
  #covers = false

  /**
   * @param usage what an event tells; `undefined` where it tells nothing
   * @param tokens those that the event brings, at the least
   * @param by what tells by which tier and model it was served
   */
  add(usage: Usage | undefined, tokens: number, by: Json): void {
    this.counted += tokens
    if (tokens > 0) this.#covers = false
    // Each event of a stream repeats it.
    const { service_tier: tier } = by
    if (typeof tier === 'string' && tier !== this.#served.tier) this.#served = servedBy(by)
    if (usage === undefined) return
    this.#told = highest(this.#told, { ...usage, ...servedBy(by) })
    if (this.counted === 0 || isOfOutput(usage)) this.#covers = true
  }

  /** Output tokens that were told. */
  get toldOutput(): number {
    return this.#told === undefined ? 0 : tokensWritten(this.#told.tokens)
  }
  /** The most that was told, and no less than was counted; `undefined` where nothing was told. */
  get told(): Usage | undefined {
    if (this.#told === undefined) return undefined
    const { tokens } = this.#told
    const uncounted = this.counted - tokensWritten(tokens)
    const all = uncounted > 0 ? { ...tokens, output: (tokens.output ?? 0) + uncounted } : tokens
    return { ...this.#served, ...this.#told, tokens: all }
  }
  /**
   * What is told of all that has come; `undefined` where nobody knows: nothing was told since the last piece, or no
   * tokens beside text.
   */
  get usage(): Usage | undefined {
    return this.#covers ? this.told : undefined
  }
}
