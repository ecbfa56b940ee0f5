import { setImmediate as othersTurn } from 'node:timers/promises'

/** Shorter texts, in characters, stay counted by their bytes: they are no large part of any limit. */
const LONG_TEXT = 4 * 1024
/** Characters that are counted at once, at the least: a millisecond's work, after which others get their turn. */
const PIECE = 1024
/** As far a place to cut is looked for. A run of letters without one costs the square of its length to count. */
const FARTHEST = 2 * PIECE

/**
 * By how much the tokens of long texts are fewer than their bytes, by o200k_base; `undefined` where no text is long. Each must stand
 * alone, between special tokens, over which no other token reaches: then its count is exact. Loads the vocabulary the first time.
 *
 * @throws AbortError when the signal aborts
 */
export async function sparedByCounting(texts: readonly string[], signal: AbortSignal): Promise<number | undefined> {
  const long = texts.filter((text) => text.length >= LONG_TEXT)
  if (long.length === 0) return undefined
  const { countTokens } = await import('./o200k-base.ts')
  let spared = 0
  for (const text of long) spared += Buffer.byteLength(text) - (await mostTokens(text, countTokens, signal))
  return spared
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
