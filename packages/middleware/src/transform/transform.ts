import type { ChatMessage } from '../operations/index.ts'
import type { TransformRule } from '../policy/index.ts'
import { dropDuplicates } from './drop-duplicates.ts'
import { lineFeedsOnly } from './line-break.ts'
import { minifyJson } from './minify-json.ts'
import type { Removal } from './removal.ts'
import { seenTexts } from './seen-texts.ts'
import { mapTexts } from './texts.ts'

export interface Transformed {
  /** The same array where nothing changed. */
  readonly messages: readonly ChatMessage[]
  /** What was taken out, for its tokens to be counted. */
  readonly removed: readonly Removal[]
}

/** What one transform leaves can be work for another: JSON is two copies of one document only once it is minified. */
const MOST_ROUNDS = 4

/**
 * The messages with what a route's rule takes out of them. Transforming the result again changes nothing: rounds are made
 * until one changes nothing, and messages that don't come to rest in a few stay as they came.
 *
 * Deterministic, and in time linear in the messages' length. Messages, their order and their roles stay.
 */
export function transform(messages: readonly ChatMessage[], rule: TransformRule): Transformed {
  const removed: Removal[] = []
  let current = messages
  for (let round = 0; round < MOST_ROUNDS; round += 1) {
    const next = once(current, rule, removed)
    if (next === current) return { messages: current, removed }
    current = next
  }
  return { messages, removed: [] }
}

function once(messages: readonly ChatMessage[], rule: TransformRule, removed: Removal[]): readonly ChatMessage[] {
  let current = messages
  if (rule.lineEndings) {
    current = mapTexts(current, (text) => {
      if (!text.includes('\r')) return text
      removed.push({ kind: 'eol', before: text })
      return lineFeedsOnly(text)
    })
  }
  const names = rule.dropDuplicates
  if (rule.minifyJson) current = mapTexts(current, (text, place) => minifyJson(text, place, names, removed))
  if (names.length > 0) {
    const seen = seenTexts()
    current = mapTexts(current, (text, place) => dropDuplicates(text, place, { names, seen }, removed))
  }
  return current
}
