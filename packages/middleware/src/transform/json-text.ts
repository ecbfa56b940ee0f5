const QUOTE = 0x22
const BACKSLASH = 0x5c
const WHITE: ReadonlySet<number> = new Set([0x20, 0x09, 0x0a, 0x0d])

/**
 * A JSON text without its insignificant white space (RFC 8259, section 2). Values are not read, so that numbers, escapes
 * and repeated names stay as they are written. The beginning of a JSON text gives the beginning of the result.
 */
export function withoutWhiteSpace(json: string): string {
  const kept: string[] = []
  let from = 0
  let isInString = false
  for (let at = 0; at < json.length; at += 1) {
    const code = json.charCodeAt(at)
    if (isInString) {
      if (code === BACKSLASH) at += 1
      else isInString = code !== QUOTE
    } else if (code === QUOTE) {
      isInString = true
    } else if (WHITE.has(code)) {
      if (from < at) kept.push(json.slice(from, at))
      from = at + 1
    }
  }
  kept.push(json.slice(from))
  return kept.join('')
}

export function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
