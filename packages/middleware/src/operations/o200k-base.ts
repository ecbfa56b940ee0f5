/*
 * Megabytes of vocabulary: only ever imported when there is something to count, and deployed as a file of its own.
 */
import { countTokens as count, setMergeCacheSize } from 'gpt-tokenizer/encoding/o200k_base'

// Nothing of a prompt outlives its request.
setMergeCacheSize(0)

/** How many tokens a text is by o200k_base. What looks like a special token is text. */
export function countTokens(text: string): number {
  return count(text, { disallowedSpecial: new Set() })
}
