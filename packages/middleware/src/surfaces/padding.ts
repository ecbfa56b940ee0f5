import { bodyFrom, type StreamEvent } from '../operations/index.ts'

/* What OpenAI's services add to the events of a stream against eavesdroppers: a text of random length. */

const PADDING = Buffer.from('"obfuscation"')
/** How a service begins it, as an event's last field. */
const START = Buffer.from(',"obfuscation":"')
/** How an event ends whose last field is a text: the brace is that of the whole, so that the field is its own. */
const END = Buffer.from('"}\n\n')
const DATA = Buffer.from('data: ')
const LINE_FEED = 10
const BACKSLASH = 92
const QUOTE = 34

/** The event's bytes without its padding; all else in them stays, byte for byte. Parsed only where padding stands at another place. */
export function withoutPadding(event: StreamEvent): Uint8Array {
  const { bytes } = event
  const came = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const at = came.lastIndexOf(PADDING)
  if (at < 0) return bytes
  const [start, end] = [at - 1, came.length - END.length]
  if (startsAt(START, came, start) && startsAt(END, came, end) && isPlain(came, start + START.length, end)) {
    return Buffer.concat([came.subarray(0, start), came.subarray(end + 1)])
  }
  if (typeof event.json?.obfuscation !== 'string') return bytes
  const data = lineStart(came) + DATA.length
  const body = bodyFrom(came.subarray(data, came.length - 2))
  if (typeof body === 'string') return bytes
  return Buffer.concat([came.subarray(0, data), body.with({ obfuscation: undefined }).bytes, came.subarray(-2)])
}

function startsAt(expected: Buffer, bytes: Buffer, at: number): boolean {
  return at >= 0 && bytes.compare(expected, 0, expected.length, at, at + expected.length) === 0
}

/** Whether a text ends where it seems to: it has no quote within, nor any escape. */
function isPlain(bytes: Buffer, from: number, to: number): boolean {
  for (let at = from; at < to; at += 1) if (bytes[at] === QUOTE || bytes[at] === BACKSLASH) return false
  return from <= to
}

/** Where the line of its data begins: after the one that names it, if there is one. */
function lineStart(bytes: Buffer): number {
  return startsAt(DATA, bytes, 0) ? 0 : bytes.indexOf(LINE_FEED) + 1
}
