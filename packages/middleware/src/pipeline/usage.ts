/*
 * What a call to a model took. Kinds of tokens are disjoint, so that they can be added and priced each by itself.
 */

/**
 * A kind of token. Any other name is a kind too. One whose name ends with `output` or `Output` was written by the model; every
 * other kind was read by it.
 */
export type TokenKind =
  /** Read, and of no other kind. */
  | 'input'
  /** Read from the service's prompt cache. */
  | 'cachedInput'
  /** Read, and written to the service's prompt cache for its usual life. */
  | 'cacheWrite'
  /** The same for a longer life, which was asked for. */
  | 'cacheWriteLong'
  | 'audioInput'
  | 'imageInput'
  /** Text, calls of tools, and what a model thought unseen. */
  | 'output'
  | 'audioOutput'
  | 'imageOutput'
  | (string & {})

/** Whole tokens by kind; a kind that is not there is 0. */
export type Tokens = Readonly<Partial<Record<TokenKind, number>>>

export interface Usage {
  readonly tokens: Tokens
  /** Of `output`, what the model thought unseen, as far as that is told: for the log, since it costs the same. */
  readonly reasoning?: number
  /** The service tier that served, and is billed, as the answer tells it (`flex`); left out where it tells none. */
  readonly tier?: string
  /** Calls of hosted tools by the tool's name (`web_search`), as far as the answer tells them. */
  readonly toolCalls?: Readonly<Record<string, number>>
  /** The service's own name of the model that answered. */
  readonly model?: string
}

/** What a call to a model took, and how sure that is. */
export interface Spend {
  /** What the model told; no tokens where it certainly generated nothing; `undefined` where it told nothing. */
  readonly usage: Usage | undefined
  /** `false` where it may be more than was told: up to all that was reserved. */
  readonly isCertain: boolean
  /** The prompt was read, and nothing was written: by a filter, say, which bills what it has read. */
  readonly promptOnly?: true
}

/** Certainly nothing was generated. */
export const NOTHING_SPENT: Spend = { usage: { tokens: { input: 0, cachedInput: 0, output: 0 } }, isCertain: true }
/** Nobody knows what was generated. */
export const SPEND_UNKNOWN: Spend = { usage: undefined, isCertain: false }
/** Nothing was generated, and the prompt was read, whose length nobody tells. */
export const PROMPT_SPENT: Spend = { usage: undefined, isCertain: false, promptOnly: true }

/** Whether tokens of this kind were written by the model, and not read. */
export function isWritten(kind: TokenKind): boolean {
  return kind === 'output' || kind.endsWith('Output')
}

/** All tokens that a model has read. */
export function tokensRead(tokens: Tokens): number {
  let sum = 0
  for (const kind in tokens) if (!isWritten(kind)) sum += tokens[kind] ?? 0
  return sum
}

/** All tokens that a model has written. */
export function tokensWritten(tokens: Tokens): number {
  let sum = 0
  for (const kind in tokens) if (isWritten(kind)) sum += tokens[kind] ?? 0
  return sum
}

/**
 * A usage as logs and answers tell it: whole tokens.
 *
 * @example { input: 1000, cachedInput: 600, output: 10, cacheWrite: 100 }
 */
export interface TokenUsage {
  /** All of the prompt, the kinds below among them. */
  readonly input: number
  /** Of the input, what the model's service had cached. */
  readonly cachedInput: number
  /** All that was written: text, tool calls, and what a model thought unseen. */
  readonly output: number
  /** Of the input or the output: each other kind of which there is any, and `reasoning`. */
  readonly [kind: string]: number
}

export function toldUsage({ tokens, reasoning }: Usage): TokenUsage {
  const told: Record<string, number> = {}
  for (const kind in tokens) if (!IN_ALL.has(kind) && tokens[kind]) told[kind] = tokens[kind]
  if (reasoning) told.reasoning = reasoning
  return {
    input: tokensRead(tokens),
    cachedInput: tokens.cachedInput ?? 0,
    output: tokensWritten(tokens),
    ...told,
  }
}

/** Kinds that each usage tells. */
const IN_ALL: ReadonlySet<string> = new Set(['input', 'cachedInput', 'output'])

/** Adds counts by their names: tokens by kind, calls by tool. What is left out is 0. */
export function addCounts(to: Record<string, number>, more: Readonly<Partial<Record<string, number>>> = {}): void {
  for (const name in more) to[name] = (to[name] ?? 0) + (more[name] ?? 0)
}
