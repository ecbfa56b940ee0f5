import { isUtf8 } from 'node:buffer'
import { type JsonFlaw, jsonNames, withPlainNames } from './json-names.ts'

/** A JSON object whose fields nobody has checked. */
export type Json = Readonly<Record<string, unknown>>

/** A request's JSON object: parsed once, its bytes kept. */
export interface Body {
  /** UTF-8. Made when they are first asked for, where the body did not come as bytes. */
  readonly bytes: Uint8Array
  readonly json: Json
  /**
   * The same with these top-level fields in the place of those of the same names, or at the end; a field that is `undefined` is
   * taken out. Every other byte stays: prompt caches hang on them, and whole numbers beyond 2^53 live in them alone. A name
   * that stands twice at the top level is replaced once, and not left a second time for a service that reads that one.
   */
  with(fields: Json): Body
  /** The top-level fields that are other than they came; none of a body that was made here. */
  readonly changed: readonly string[]
  /**
   * Why another reader may find something else in it than stands in `json`; `undefined` where none can, and for what was made
   * here. To be refused where the body goes on as it came.
   */
  readonly flaw: JsonFlaw | undefined
}

/** Why bytes are no body. */
export type NoBody = 'no JSON' | 'no object'

/** Whether a JSON value is an object, and not an array. */
export function isJson(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A body that is made here, of values. */
export function bodyOf(json: Json): Body {
  return new JsonBody(json, { isMade: true })
}

/**
 * A body that came as bytes (RFC 8259: UTF-8, whose byte order mark is not a part of the text).
 *
 * @param bytes not to be changed
 */
export function bodyFrom(bytes: Uint8Array): Body | NoBody {
  if (!isUtf8(bytes)) return 'no JSON'
  const came = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const utf8 = came.subarray(came.indexOf(BOM) === 0 ? BOM.length : 0)
  const text = utf8.toString()
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    return 'no JSON'
  }
  if (!isJson(json)) return 'no object'
  const { flaw, escaped } = jsonNames(text)
  // V8 (of Node 20 to 24) can take an escaped name for one that it has read before: `"\u0061"` for `"\\"`, whose character
  // its text begins with. A field must not be hidden that way from what checks it.
  if (escaped.length > 0) json = JSON.parse(withPlainNames(text, escaped))
  return new JsonBody(json as Json, { source: { bytes: utf8, json: json as Json }, isMade: false, flaw })
}

const BOM = Buffer.from('\ufeff')

/** A JSON object's text, and what it says. */
interface Text {
  readonly bytes: Buffer
  readonly json: Json
}

/** Where a body comes from. */
interface Origin {
  /** What it came as, or what was written of it before; `undefined` where there is no text of it yet. */
  readonly source?: Text | undefined
  /** Fields that are other than in the source. */
  readonly changes?: Json
  readonly isMade: boolean
  readonly flaw?: JsonFlaw | undefined
}

class JsonBody implements Body {
  readonly json: Json
  readonly #origin: Origin
  #bytes: Buffer | undefined
  constructor(json: Json, origin: Origin) {
    this.json = json
    this.#origin = origin
  }

  get bytes(): Buffer {
    this.#bytes ??= this.#written()
    return this.#bytes
  }
  get changed(): readonly string[] {
    const { changes, isMade } = this.#origin
    return isMade || changes === undefined ? [] : Object.keys(changes)
  }
  get flaw(): JsonFlaw | undefined {
    return this.#origin.flaw
  }

  with(fields: Json): Body {
    const json = merged(this.json, fields)
    const { changes, ...origin } = this.#origin
    // From what came, so that a field that is taken out and put in again keeps its place; else from what was written of it.
    if (origin.source !== undefined) return new JsonBody(json, { ...origin, changes: { ...changes, ...fields } })
    if (this.#bytes === undefined) return new JsonBody(json, origin)
    return new JsonBody(json, { ...origin, source: { bytes: this.#bytes, json: this.json }, changes: fields })
  }

  #written(): Buffer {
    const { source, changes } = this.#origin
    if (source === undefined) return Buffer.from(JSON.stringify(this.json))
    return changes === undefined ? source.bytes : spliced(source, changes)
  }
}

function merged(json: Json, fields: Json): Json {
  const entries = Object.entries(fields)
  const all = { ...json, ...fields }
  if (entries.every(([, value]) => value !== undefined)) return all
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
}

/** A member of the top-level object: where its name begins, and where its value does and ends. */
interface Member {
  readonly name: string
  readonly start: number
  readonly value: number
  readonly end: number
}

/** A JSON object's text with other fields. */
function spliced({ bytes: text, json }: Text, fields: Json): Buffer {
  const values = new Map(Object.entries(fields).map(([name, value]) => [name, JSON.stringify(value)]))
  const parts: (Buffer | string)[] = []
  /** Up to where the text is in the parts, and how many of its members are. */
  let [at, kept] = [0, 0]
  const hasAny = [...values.keys()].some((name) => Object.hasOwn(json, name))
  if (!hasAny) kept = Object.keys(json).length
  else {
    const written = new Set<string>()
    const members = membersOf(text)
    for (const [place, { name, start, value, end }] of members.entries()) {
      const changed = values.get(name)
      const isLeftOut = values.has(name) && (changed === undefined || written.has(name))
      if (!isLeftOut) {
        kept += 1
        if (changed === undefined) continue
        written.add(name)
        parts.push(text.subarray(at, value), changed)
        at = end
      } else if (kept > 0) {
        // With the comma before it.
        parts.push(text.subarray(at, members[place - 1]?.end))
        at = end
      } else {
        // With the comma after it.
        parts.push(text.subarray(at, start))
        at = members[place + 1]?.start ?? end
      }
    }
    for (const name of written) values.delete(name)
  }
  const end = Math.max(at, endOfMembers(text))
  parts.push(text.subarray(at, end))
  for (const [name, value] of values) {
    if (value === undefined) continue
    parts.push(`${kept > 0 ? ',' : ''}${JSON.stringify(name)}:${value}`)
    kept += 1
  }
  parts.push(text.subarray(end))
  return Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)))
}

/** After the last member of the object that a JSON text is, or after its brace where it has none. */
function endOfMembers(text: Buffer): number {
  let at = text.lastIndexOf(CLOSE)
  while (isSpace(text[at - 1])) at -= 1
  return at
}

const QUOTE = 34
const COMMA = 44
const BACKSLASH = 92
const OPEN = 123
const CLOSE = 125

/** The members of the object that a JSON text is. */
function membersOf(text: Buffer): readonly Member[] {
  const members: Member[] = []
  let at = text.indexOf(OPEN) + 1
  for (;;) {
    const start = afterSpace(text, at)
    if (text[start] === CLOSE) return members
    const nameEnd = endOfString(text, start)
    const value = afterSpace(text, afterSpace(text, nameEnd) + 1)
    const end = endOfValue(text, value)
    members.push({ name: nameIn(text, start, nameEnd), start, value, end })
    at = afterSpace(text, end)
    if (text[at] !== COMMA) return members
    at += 1
  }
}

function nameIn(text: Buffer, from: number, to: number): string {
  const plain = text.toString('utf8', from + 1, to - 1)
  return plain.includes('\\') ? JSON.parse(`"${plain}"`) : plain
}

function afterSpace(text: Buffer, from: number): number {
  let at = from
  while (isSpace(text[at])) at += 1
  return at
}

function isSpace(byte: number | undefined): boolean {
  return byte === 32 || byte === 10 || byte === 13 || byte === 9
}

/** After the quote that ends the string which begins here. */
function endOfString(text: Buffer, from: number): number {
  let at = text.indexOf(QUOTE, from + 1)
  while (isEscaped(text, at)) at = text.indexOf(QUOTE, at + 1)
  return at + 1
}

function isEscaped(text: Buffer, at: number): boolean {
  let before = at
  while (text[before - 1] === BACKSLASH) before -= 1
  return (at - before) % 2 === 1
}

function endOfValue(text: Buffer, from: number): number {
  let depth = 0
  let at = from
  do {
    const byte = text[at]
    if (byte === QUOTE) at = endOfString(text, at)
    else if (isScalar(byte)) at = endOfScalar(text, at)
    else {
      // [ and {, ] and }; else a comma, a colon or white space.
      if (byte === 91 || byte === OPEN) depth += 1
      else if (byte === 93 || byte === CLOSE) depth -= 1
      at += 1
    }
  } while (depth > 0)
  return at
}

/** Whether a byte may stand in a number, `true`, `false` or `null`. */
function isScalar(byte: number | undefined): boolean {
  if (byte === undefined) return false
  return (
    (byte >= 48 && byte <= 57) ||
    (byte >= 97 && byte <= 122) ||
    byte === 45 ||
    byte === 43 ||
    byte === 46 ||
    byte === 69
  )
}

function endOfScalar(text: Buffer, from: number): number {
  let at = from + 1
  while (isScalar(text[at])) at += 1
  return at
}
