import type { TokenKind } from './usage.ts'

/** Whole pico-dollars a token, by its kind. A kind that is not there costs the highest rate that is. */
export type Rates = Readonly<Partial<Record<TokenKind, number>>>

/** A factor of a price, in thousandths: 1.5 is 1500. */
export type Thousandths = number

/** What tokens cost, and what they cost where a prompt is long. */
export interface TokenRates {
  readonly rates: Rates
  /** Where more than `tokens` were read, all tokens of the call cost their rate as often as this says, by kind. */
  readonly above?: {
    readonly tokens: number
    readonly rates: Rates
    /** Of all `rates`: so many make one pico-dollar, since a factor can make parts of one. */
    readonly perPico: number
  }
}

/** What a model's service bills. A value as JSON has them, so that equal prices are one object. */
export interface Price extends TokenRates {
  /** By the service tier that served: how many times as much its tokens cost, or what they cost. */
  readonly tiers?: Readonly<Record<string, Thousandths | TokenRates>>
  /** How many times as much tokens cost where they are served in the zone that a target names. */
  readonly zone?: Thousandths
  /** Whole pico-dollars a call of a hosted tool, by its name. */
  readonly tools?: Readonly<Record<string, number>>
  /** Fields of a request that move its bill otherwise, where the rates here are the most that they make it. */
  readonly covers?: readonly string[]
}
