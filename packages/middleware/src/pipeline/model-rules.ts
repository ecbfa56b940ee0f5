import type { TokenKind } from './usage.ts'

/** What a model bills that no request asks for. */
export interface Unasked {
  /** Searches of the web, as hosted tool `web_search`: one for each choice, or as many as it likes. */
  readonly searches?: 'once' | 'often' | undefined
  /** Kinds of tokens. */
  readonly kinds?: readonly TokenKind[] | undefined
}

/** What policy and prices say of a model, and of the plan of who asks for it, as far as an operation needs it. */
export interface ModelRules {
  /** The most tokens of one request, prompt and answer together; `undefined` where nobody said. */
  readonly contextWindow: number | undefined
  /** The field by which the length of an answer is bounded where a request has none. */
  readonly outputField: 'max_tokens' | 'max_completion_tokens' | 'max_output_tokens'
  /** Whether the model is known to go by that field: then a bound in another word is sent in this one. */
  readonly isOutputFieldKnown?: boolean | undefined
  /** The vocabulary by which it counts, where that is known, and one that we have. */
  readonly tokenizer?: 'o200k_base' | undefined
  /** Whether it takes a temperature. */
  readonly temperature: boolean
  /** The hosted tools that have a price, and that the plan allows. */
  readonly tools: readonly string[]
  /** The service tiers that have a price, beside the usual one, and that the plan allows. */
  readonly tiers: readonly string[]
  /** The fields that move a bill otherwise (`PRICED_FIELDS`), and that the price covers. */
  readonly covers?: readonly string[] | undefined
  /** What it bills unasked, where that is known by its name. */
  readonly unasked?: Unasked | undefined
}
