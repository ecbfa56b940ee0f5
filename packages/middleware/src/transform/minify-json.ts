import { withoutWhiteSpace } from './json-text.ts'
import type { Removal } from './removal.ts'
import { structureOf } from './structure.ts'
import type { Place } from './texts.ts'
import { isWholeJson } from './whole-json.ts'

/** How an assistant wrote before is an example that it follows. */
const UNTOUCHED = 'assistant'

/**
 * The text with white space taken out of JSON where it is declared: fenced code blocks marked `json`, `<data>` elements,
 * and whole answers of tools. What JSON.parse refuses stays as it is.
 */
export function minifyJson(text: string, place: Place, names: readonly string[], removed: Removal[]): string {
  if (place.role === UNTOUCHED) return text
  if (isWholeJson(text, place)) return minified(text, removed)
  const pieces: string[] = []
  let at = 0
  for (const { start, end } of structureOf(text, names).json) {
    pieces.push(text.slice(at, start), minified(text.slice(start, end), removed))
    at = end
  }
  return at === 0 ? text : pieces.join('') + text.slice(at)
}

function minified(json: string, removed: Removal[]): string {
  const less = withoutWhiteSpace(json)
  if (less.length < json.length) removed.push({ kind: 'json', before: json })
  return less
}
