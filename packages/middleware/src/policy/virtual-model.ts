/*
 * A virtual model is a name that callers use as they use a model's, and that has no targets of its own: which model serves is
 * decided for each request. A model that was picked is asked under its own name, limits, cache, budget and price.
 */

/** Another name for a model, or for a virtual one. */
export interface AliasModel {
  readonly kind: 'alias'
  readonly name: string
  readonly model: string
}

/** Several models, each with its share of the requests: an A/B test. */
export interface SplitModel {
  readonly kind: 'split'
  readonly name: string
  readonly parts: readonly { readonly model: string; readonly weight: number }[]
  /** What stays with one part: a consumer with all of its requests, or each request (the same body always goes to the same). */
  readonly by: 'consumer' | 'request'
}

/** A small model, and a large one for what needs it. */
export interface RuledModel {
  readonly kind: 'route'
  readonly name: string
  readonly small: string
  readonly large: string
  /** The first that holds decides; where none does, the small one serves. */
  readonly rules: readonly ModelRule[]
}

/** Holds where all of what it says does. */
export interface ModelRule {
  /** The prompt has at least so many tokens, as estimated. */
  readonly tokens?: number | undefined
  /** The conversation has at least so many messages. */
  readonly turns?: number | undefined
  /** The prompt holds code; it doesn't, for `false`. So for the others. */
  readonly code?: boolean | undefined
  /** Tools are offered. */
  readonly tools?: boolean | undefined
  /** The answer is asked for by a JSON schema. */
  readonly schema?: boolean | undefined
  /** The caller sent this header, with this value where one is given. In lower case. */
  readonly header?: { readonly name: string; readonly value: string | undefined } | undefined
  readonly use: 'small' | 'large'
}

export type VirtualModel = AliasModel | SplitModel | RuledModel
