/*
 * What `JSON.parse` doesn't tell of a text that it has read: how its names are written. A service may read another field than
 * the gateway did where a name stands twice in one object, of which each parser takes the one it likes, and where V8 takes one
 * name for another. What was checked here must be what is read there.
 */

/** What makes a JSON text say one thing to one reader and another to the next. */
export interface JsonFlaw {
  /** `repeated`: a name stands twice in one object. `deep`: more levels than can always be written again. */
  readonly kind: 'repeated' | 'deep'
  /** Where: `messages[0].content`. */
  readonly path: string
}

/** The names of all objects in a JSON text. */
export interface JsonNames {
  /** The first flaw; `undefined` where there is none. */
  readonly flaw: JsonFlaw | undefined
  /** Names that are written with an escape, in their order. */
  readonly escaped: readonly EscapedName[]
}

/** Where a name stands in the text, with its quotes, and what it says. */
interface EscapedName {
  readonly start: number
  readonly end: number
  readonly name: string
}

/** Levels of a request. The deepest schemas of tools have a third of it; `JSON.stringify` fails at some thousands. */
const MAX_DEPTH = 128

const QUOTE = 34
const COMMA = 44
const COLON = 58
const BACKSLASH = 92

/** An object or array that is open. */
interface Level {
  /** An object's, so far; `undefined` for an array. */
  readonly names: Set<string> | undefined
  /** The last of them. */
  name: string
  /** The place of an array's present element. */
  index: number
}

/** Looks through the names of a text that `JSON.parse` has read, in one pass. */
export function jsonNames(text: string): JsonNames {
  const levels: Level[] = []
  const escaped: EscapedName[] = []
  let level: Level | undefined
  let flaw: JsonFlaw | undefined
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) {
      const start = at
      at = endOfString(text, start)
      if (level?.names === undefined || text.charCodeAt(afterSpace(text, at + 1)) !== COLON) continue
      let name = text.slice(start + 1, at)
      if (name.includes('\\')) {
        // As a value: of these V8 mistakes none.
        name = JSON.parse(`"${name}"`) as string
        escaped.push({ start, end: at + 1, name })
      }
      level.name = name
      if (level.names.has(name)) flaw ??= { kind: 'repeated', path: pathOf(levels) }
      level.names.add(name)
    } else if (code === COMMA) {
      if (level?.names === undefined && level !== undefined) level.index += 1
    } else if (code === 91 || code === 123) {
      // [ and {
      if (levels.length === MAX_DEPTH) return { flaw: { kind: 'deep', path: pathOf(levels.slice(0, 2)) }, escaped }
      level = { names: code === 123 ? new Set() : undefined, name: '', index: 0 }
      levels.push(level)
    } else if (code === 93 || code === 125) {
      levels.pop()
      level = levels.at(-1)
    }
  }
  return { flaw, escaped }
}

/** The same text with these names written without escapes, as far as JSON allows. */
export function withPlainNames(text: string, escaped: JsonNames['escaped']): string {
  let plain = ''
  let from = 0
  for (const { start, end, name } of escaped) {
    plain += text.slice(from, start) + JSON.stringify(name)
    from = end
  }
  return plain + text.slice(from)
}

function pathOf(levels: readonly Level[]): string {
  let path = ''
  for (const { names, name, index } of levels) {
    if (names === undefined) path += `[${index}]`
    else path += path === '' ? name : `.${name}`
  }
  return path.length > 100 ? `${path.slice(0, 100)}…` : path
}

/** Where the string that begins at `start` ends: at its closing quote. */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; ; at += 1) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) return at
    if (code === BACKSLASH) at += 1
  }
}

function afterSpace(text: string, from: number): number {
  let at = from
  while (text.charCodeAt(at) <= 32) at += 1
  return at
}
