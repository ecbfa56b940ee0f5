import type { Source } from '../pipeline/index.ts'
import type { Json } from './body.ts'

/** ONE event of a streamed answer, so that one can be dropped or rewritten and its neighbours keep their bytes. */
export interface StreamEvent {
  /** With its blank line. Not to be changed; to be copied by who keeps it, since it may be a part of a larger piece of memory. */
  readonly bytes: Uint8Array
  /** Its `event` field; `undefined` where it has none. */
  readonly name: string | undefined
  /** Its data; `undefined` where that is no JSON object, as that of `[DONE]`. Parsed once, when it is first asked for. */
  readonly json: Json | undefined
}

/**
 * A streamed answer: each read gives the events that have come, one at the least. Rejects with `BrokenStream`.
 */
export type EventSource = Source<readonly StreamEvent[]>

const LF = 10
const FRAME = Buffer.from('data: ')
const EVENT_NAME = 'event: '

/**
 * The events in bytes that were put together of events' own, in the form `data: …`, a line feed after each line and one more
 * after each event: cut apart without a look into their data.
 */
export function* eventsIn(bytes: Uint8Array): Generator<StreamEvent, void> {
  const whole = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let from = 0; from < whole.length; ) {
    let to = whole.indexOf('\n\n', from)
    to = to < 0 ? whole.length : to + 2
    yield storedEvent(whole.subarray(from, to))
    from = to
  }
}

function storedEvent(bytes: Buffer): StreamEvent {
  let parsed: { readonly json: Json | undefined } | undefined
  return {
    bytes,
    get name() {
      return nameIn(bytes)
    },
    get json() {
      parsed ??= { json: objectIn(dataIn(bytes)) }
      return parsed.json
    },
  }
}

function nameIn(bytes: Buffer): string | undefined {
  if (bytes[0] === FRAME[0]) return undefined
  const line = bytes
    .toString('utf8')
    .split('\n')
    .find((each) => each.startsWith(EVENT_NAME))
  return line?.slice(EVENT_NAME.length)
}

function dataIn(bytes: Buffer): string {
  if (bytes.subarray(0, FRAME.length).equals(FRAME) && bytes.indexOf(LF) === bytes.length - 2) {
    return bytes.toString('utf8', FRAME.length, bytes.length - 2)
  }
  const lines = bytes.toString('utf8').split('\n')
  return lines
    .filter((line) => line.startsWith('data:'))
    .map((line) => line.slice(line[5] === ' ' ? 6 : 5))
    .join('\n')
}

function objectIn(data: string): Json | undefined {
  if (!data.startsWith('{')) return undefined
  try {
    return JSON.parse(data) as Json
  } catch {
    return undefined
  }
}
