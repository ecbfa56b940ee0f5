import { isJson } from './json-text.ts'
import type { Place } from './texts.ts'

const TOOLS: ReadonlySet<string> = new Set(['tool', 'function'])

/** Whether a text is all that a tool answered, and is one JSON object or array. */
export function isWholeJson(text: string, { role, isWhole }: Place): boolean {
  return isWhole && TOOLS.has(role) && /^[ \t\n\r]*[[{]/.test(text) && isJson(text)
}
