import { setImmediate as othersTurn } from 'node:timers/promises'
import type { ModelRules } from '../../pipeline/index.ts'
import { type Body, isJson } from '../body.ts'
import { bounds } from './request.ts'

/** Shorter texts, in characters, stay counted by their bytes: they are no large part of any limit. */
const LONG_TEXT = 4 * 1024
/** Characters that are counted at once, at the least: a millisecond's work, after which others get their turn. */
const PIECE = 1024
/** As far a place to cut is looked for. A run of letters without one costs the square of its length to count. */
const FARTHEST = 2 * PIECE

/**
 * The most tokens that a model which counts by o200k_base can make of a body's input: of the long texts in its messages what
 * the vocabulary makes of them, and of everything else its bytes. `undefined` where the vocabulary is another, or nothing
 * bounds the input, or no text is long.
 *
 * Safe, since a message's text stands between special tokens, over which no other token reaches: its count is exact, and what
 * templates and tools add is bounded as it was. Loads the vocabulary the first time.
 *
 * @throws AbortError when the signal aborts
 */
export async function countInput(
  body: Body,
  rules: Pick<ModelRules, 'contextWindow' | 'tokenizer'>,
  signal: AbortSignal,
): Promise<number | undefined> {
  if (rules.tokenizer !== 'o200k_base') return undefined
  const byBytes = bounds(body, { contextWindow: undefined })
  const { messages } = body.json
  if (byBytes?.input === undefined || !Array.isArray(messages)) return undefined
  const texts = messages.flatMap((message) => (isJson(message) ? (textOf(message.content) ?? []) : []))
  const long = texts.filter((text) => text.length >= LONG_TEXT)
  if (long.length === 0) return undefined
  const { countTokens } = await import('../o200k-base.ts')
  let { input } = byBytes
  for (const text of long) input -= Buffer.byteLength(text) - (await mostTokens(text, countTokens, signal))
  return Math.min(input, rules.contextWindow ?? input)
}

/** A message's text where it has one alone. Several may be put together, and tokens reach from one into the next. */
function textOf(content: unknown): string | undefined {
  if (typeof content === 'string') return content
  const [part, ...others] = Array.isArray(content) ? content : []
  return others.length === 0 && part?.type === 'text' && typeof part.text === 'string' ? part.text : undefined
}

/** A text's tokens: exactly, as far as there are places to cut it, and by its bytes from there on. */
async function mostTokens(text: string, countTokens: (text: string) => number, signal: AbortSignal): Promise<number> {
  let tokens = 0
  for (let from = 0; from < text.length; ) {
    await othersTurn(undefined, { signal })
    const to = text.length - from <= FARTHEST ? text.length : placeToCut(text, from + PIECE, from + FARTHEST)
    if (to === undefined) return tokens + Buffer.byteLength(text.slice(from))
    tokens += countTokens(text.slice(from, to))
    from = to
  }
  return tokens
}

/**
 * Where no token reaches over, by the way in which o200k_base splits a text into words before it looks them up: after a
 * letter, before what is neither letter, mark nor an apostrophe. A word of letters ends there, whatever follows.
 */
function placeToCut(text: string, from: number, to: number): number | undefined {
  for (let at = from; at < to; at += 1) {
    if (LETTER.test(text[at - 1] ?? '') && ENDS_WORD.test(text[at] ?? '')) return at
  }
  return undefined
}

/** One UTF-16 unit: half of a pair is neither. */
const LETTER = /^\p{L}$/u
const ENDS_WORD = /^[^\p{L}\p{M}'\p{Surrogate}]$/u
