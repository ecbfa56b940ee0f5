/** Levels of a JSON text. No service nests an answer half as deep, and what is deeper can't always be written again. */
const MAX_DEPTH = 64
/** Values of a JSON text: an answer with the alternatives of 10,000 tokens has as many. One costs up to 100 bytes of memory. */
const MAX_VALUES = 1_000_000

/** Up to this length, in characters, a text is within bounds: it can't hold more levels than can be written again. */
const HARMLESS_LENGTH = 1_024

const QUOTE = 34
const COMMA = 44
const BACKSLASH = 92

/**
 * Whether a JSON text may be parsed: a short text can make deep or countless values, which cost far more memory than
 * its length, and which `JSON.stringify` fails at. Of a text that is no JSON it says nothing.
 *
 * @param maxValues 1,000,000 by default
 */
export function isWithinBounds(text: string, maxValues = MAX_VALUES): boolean {
  if (text.length <= HARMLESS_LENGTH) return true
  let depth = 0
  let values = 1
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) at = endOfString(text, at)
    else if (code === COMMA) values += 1
    // [ and {, ] and }
    else if (code === 91 || code === 123) {
      depth += 1
      values += 1
      if (depth > MAX_DEPTH) return false
    } else if (code === 93 || code === 125) depth -= 1
    if (values > maxValues) return false
  }
  return true
}

/** Where the string that begins at `start` ends: at its closing quote, or at the text's end. */
function endOfString(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let backslashes = 0
    while (text.charCodeAt(at - 1 - backslashes) === BACKSLASH) backslashes += 1
    if (backslashes % 2 === 0) return at
  }
  return text.length
}
