import type { Source } from '../pipeline/index.ts'
import { isJson, type Json } from './body.ts'

/** ONE event of a streamed answer, so that one can be dropped or rewritten and its neighbours keep their bytes. */
export interface StreamEvent {
  /**
   * With its blank line. Not to be changed; to be copied by who keeps it, since it may be a part of a larger piece of memory.
   * Made when they are first asked for, where the event did not come as bytes of its own.
   */
  readonly bytes: Uint8Array
  /** Its `event` field; `undefined` where it has none. */
  readonly name: string | undefined
  /** Its data; `undefined` where that is no JSON object, as that of `[DONE]`. Parsed once. Not to be changed. */
  readonly json: Json | undefined
  /** Whether `json` is parsed only when it is first asked for: who passes the bytes on had better not ask. */
  readonly isUnread?: true
}

/**
 * A streamed answer: each read gives the events that have come, one at the least. Rejects with `BrokenStream`.
 */
export type EventSource = Source<readonly StreamEvent[]>

const LF = 10
const SPACE = 32
const DATA = Buffer.from('data: ')

/**
 * An event of an object that is known already.
 *
 * @param bytes as it came; without them it is written in one line of data, after the one that names it
 * @param name its `event` field, if it has one
 */
export function eventOf(json: Json, bytes?: Uint8Array, name?: string): StreamEvent {
  return new KnownEvent(json, bytes, name)
}

class KnownEvent implements StreamEvent {
  readonly name: string | undefined
  readonly json: Json
  #bytes: Uint8Array | undefined
  constructor(json: Json, bytes: Uint8Array | undefined, name: string | undefined) {
    this.name = name
    this.json = json
    this.#bytes = bytes
  }
  get bytes(): Uint8Array {
    this.#bytes ??= Buffer.from(`${nameLine(this.name)}data: ${JSON.stringify(this.json)}\n\n`)
    return this.#bytes
  }
}

function nameLine(name: string | undefined): string {
  return name === undefined ? '' : `event: ${name}\n`
}

/** The bytes of an event with this data: `data: …`, a line feed after each line, and one more; its name before it. A copy. */
export function eventBytes(data: Uint8Array, name?: string): Buffer {
  const unnamed = dataBytes(data)
  return name === undefined ? unnamed : Buffer.concat([Buffer.from(nameLine(name)), unnamed])
}

function dataBytes(data: Uint8Array): Buffer {
  let lines = 1
  for (let at = data.indexOf(LF); at >= 0; at = data.indexOf(LF, at + 1)) lines += 1
  const bytes = Buffer.allocUnsafe(data.length + lines * DATA.length + 2)
  let length = 0
  for (let from = 0; from <= data.length; ) {
    const next = lines === 1 ? -1 : data.indexOf(LF, from)
    const to = next < 0 ? data.length : next
    bytes.set(DATA, length)
    bytes.set(data.subarray(from, to), length + DATA.length)
    length += DATA.length + to - from
    bytes[length] = LF
    length += 1
    from = to + 1
  }
  bytes[length] = LF
  return bytes
}

/**
 * The events in bytes that were put together of events' own, in the form `data: …` (`event: …` before it, where one has a name),
 * a line feed after each line and one more after each event: cut apart without a look into their data.
 */
export function* eventsIn(bytes: Uint8Array): Generator<StreamEvent, void> {
  const whole = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let from = 0; from < whole.length; ) {
    const end = whole.indexOf('\n\n', from)
    const to = end < 0 ? whole.length : end + 2
    yield new StoredEvent(whole.subarray(from, to))
    from = to
  }
}

class StoredEvent implements StreamEvent {
  readonly isUnread = true
  readonly bytes: Buffer
  #parsed: { readonly json: Json | undefined } | undefined
  constructor(bytes: Buffer) {
    this.bytes = bytes
  }
  get name(): string | undefined {
    return fieldIn(this.bytes, 'event')[0]
  }
  get json(): Json | undefined {
    this.#parsed ??= { json: objectIn(dataIn(this.bytes)) }
    return this.#parsed.json
  }
}

function dataIn(bytes: Buffer): string {
  const isOneLine = bytes.indexOf(LF) === bytes.length - 2 && bytes[5] === SPACE && bytes.indexOf(DATA) === 0
  return isOneLine ? bytes.toString('utf8', DATA.length, bytes.length - 2) : fieldIn(bytes, 'data').join('\n')
}

/** The values of all lines that are of a field. */
function fieldIn(bytes: Buffer, field: string): string[] {
  const start = `${field}: `
  // An event of data alone, as nearly all are, is not looked through for another field.
  if (field !== 'data' && bytes[0] === DATA[0]) return []
  const lines = bytes.toString().split('\n')
  return lines.filter((line) => line.startsWith(start)).map((line) => line.slice(start.length))
}

function objectIn(data: string): Json | undefined {
  const text = data.trim()
  if (!text.startsWith('{')) return undefined
  try {
    const value: unknown = JSON.parse(text)
    return isJson(value) ? value : undefined
  } catch {
    return undefined
  }
}
