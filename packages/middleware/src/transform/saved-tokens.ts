import { setImmediate as othersTurn } from 'node:timers/promises'
import { loadTokenizer } from '../operations/index.ts'
import { type Removal, SHRINK } from './removal.ts'

/** Characters that are counted of what each transform changed; the rest is taken to be alike. */
const MOST_COUNTED = 32 * 1024
/** Characters that are counted before others get their turn. */
const PIECE = 1024

/**
 * The tokens that were taken out, by o200k_base. Loads the tokenizer the first time, and lets others work in between.
 *
 * @throws AbortError when the signal aborts
 */
export async function savedTokens(removed: readonly Removal[], signal: AbortSignal): Promise<number> {
  const { countTokens } = await loadTokenizer()
  let saved = 0
  for (const kind of Object.keys(SHRINK) as Removal['kind'][]) {
    const texts = removed.filter((removal) => removal.kind === kind).map(({ before }) => before)
    const total = texts.reduce((length, text) => length + text.length, 0)
    let counted = 0
    let fewer = 0
    for (const text of texts) {
      const sample = text.slice(0, MOST_COUNTED - counted)
      counted += sample.length
      fewer += (await count(sample)) - (await count(SHRINK[kind](sample)))
    }
    if (counted > 0) saved += (Math.max(0, fewer) * total) / counted
  }
  return Math.round(saved)

  async function count(text: string): Promise<number> {
    let tokens = 0
    for (let at = 0; at < text.length; at += PIECE) {
      await othersTurn(undefined, { signal })
      tokens += countTokens(text.slice(at, at + PIECE))
    }
    return tokens
  }
}
