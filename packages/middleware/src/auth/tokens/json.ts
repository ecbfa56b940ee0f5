/** A JSON object that a stranger has sent: a name that it lacks may be one that every object has. */
export type JsonObject = Readonly<Record<string, unknown>>

/** Deeper than any token or set of keys. */
const DEEPEST = 16

/** The object that the text is; `undefined` for anything else, and for what is nested too deeply. */
export function jsonObject(text: string): JsonObject | undefined {
  if (isTooDeep(text)) return undefined
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  return isObject(value) ? value : undefined
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The object's own value, and none that it inherits. */
export function own(object: JsonObject, name: string): unknown {
  return Object.hasOwn(object, name) ? object[name] : undefined
}

/** Looked at before anything is parsed, in one pass. */
function isTooDeep(text: string): boolean {
  let depth = 0
  let isInText = false
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index)
    if (isInText) {
      if (code === BACKSLASH) index += 1
      else if (code === QUOTE) isInText = false
    } else if (code === QUOTE) isInText = true
    else if (code === BRACE || code === BRACKET) {
      depth += 1
      if (depth > DEEPEST) return true
    } else if (code === BRACE_END || code === BRACKET_END) depth -= 1
  }
  return false
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const BRACKET = 0x5b
const BRACKET_END = 0x5d
const BRACE = 0x7b
const BRACE_END = 0x7d
