import { growingBytes } from '../pipeline/index.ts'
import { eventBytes } from './stream-event.ts'

/** An event that has data (Server-Sent Events, WHATWG HTML, section 9.2.6). */
export interface ServerSentEvent {
  /** '' where the event names none. */
  readonly type: string
  /** Its `data` lines, joined by line feeds. */
  readonly data: string
  /** With its data as it came, in the form of a `StreamEvent`'s: a part of the piece where it has that form, a copy else. */
  readonly bytes: Buffer
}

/** Reads a stream's bytes, piece by piece, in any cut and with any line ending. */
export interface ServerSentEvents {
  /** Tells of the events that these bytes complete, which may be parts of them: not to be changed while these are in use. */
  feed(bytes: Uint8Array): void
  /** To be called when no more bytes will come: tells of the last event, which may lack its blank line. */
  close(): void
  /** Whether an event was longer than `maxBytes`. Nothing is read after it. */
  readonly isTooLong: boolean
}

export interface ServerSentEventsOptions {
  /** The longest event, in bytes of its data and of a line that has not ended; each data line counts 64 at the least. */
  readonly maxBytes: number
  /** Whether an event's bytes have the line that names it, for clients that go by it. Not, by default. */
  readonly keepsNames?: boolean
  readonly onEvent: (event: ServerSentEvent) => void
}

const LF = 10
const CR = 13
const SPACE = 32
const COLON = 58
const BOM = Buffer.from('\ufeff')
const DATA = Buffer.from('data')
const EVENT = Buffer.from('event')
/** So many bytes of a line tell whether it is of use: a BOM, and the longer of the two names with its colon. */
const TELLING_BYTES = BOM.byteLength + EVENT.byteLength + 1

/**
 * Holds what of the event under way has come, copied, and nothing else: neither comments nor fields without use, however
 * long they are, nor the memory in which an event came. So the bytes that are held are those that `maxBytes` bounds,
 * which a parser that works on strings can't promise: its slices and ropes keep many times what they count.
 */
export function serverSentEvents({ maxBytes, keepsNames = false, onEvent }: ServerSentEventsOptions): ServerSentEvents {
  /** Of a line that has not ended. */
  const line = growingBytes(maxBytes)
  /** Of the event's data lines, where they could not be read where they stood. */
  const data = growingBytes(maxBytes)
  /** The event's only data line so far, where it stands in the piece that is read, and from where its value does. */
  let single: { readonly piece: Buffer; readonly from: number; readonly value: number; readonly to: number } | undefined
  /** Data lines so far. */
  let lines = 0
  let type = ''
  /** Where the line stands that names the event, in the piece that is read. */
  let naming: { readonly piece: Buffer; readonly from: number; readonly to: number } | undefined
  let isFirstLine = true
  /** Whether the rest of the line is of no use. */
  let skips = false
  /** Whether the last byte was a CR, after which a LF ends no line of its own. */
  let afterCr = false
  /** Its state is a field, since a getter would give each stream's object a shape of its own, which the collector finds late. */
  const reader = { feed, close, isTooLong: false }

  function feed(bytes: Uint8Array): void {
    if (reader.isTooLong || bytes.byteLength === 0) return
    const piece = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    let at = afterCr && piece[0] === LF ? 1 : 0
    afterCr = false
    for (let end = lineEnd(piece, at); end < piece.length; end = lineEnd(piece, at)) {
      endLine(piece, at, end)
      if (reader.isTooLong) return
      const isCr = piece[end] === CR
      at = end + (isCr && piece[end + 1] === LF ? 2 : 1)
      afterCr = isCr && end + 1 === piece.length
    }
    if (at < piece.length) beginLine(piece.subarray(at))
    keepSingle()
  }

  function beginLine(part: Buffer): void {
    if (skips) return
    if (!line.append(part)) {
      overflow()
      return
    }
    if (line.length < TELLING_BYTES || isOfUse(line.view())) return
    line.clear()
    skips = true
    isFirstLine = false
  }

  function endLine(piece: Buffer, from: number, to: number): void {
    if (skips) skips = false
    else if (line.length === 0) readLine(piece, from, to)
    else if (line.append(piece.subarray(from, to))) {
      readLine(line.view(), 0, line.length)
      keepSingle()
    } else overflow()
    line.clear()
    isFirstLine = false
  }

  function readLine(piece: Buffer, from: number, to: number): void {
    const start = from + bomLength(piece, from)
    if (start === to) dispatch(start)
    else if (isField(DATA, piece, start, to)) addData(piece, start, to)
    else if (isField(EVENT, piece, start, to)) {
      const value = valueAt(piece, start + EVENT.length, to)
      type = piece.toString('utf8', value, to)
      naming = value - start === EVENT.length + 2 ? { piece, from: start, to } : undefined
    }
  }

  function addData(piece: Buffer, from: number, to: number): void {
    const value = valueAt(piece, from + DATA.length, to)
    lines += 1
    if (lines === 1) {
      single = { piece, from, value, to }
      return
    }
    keepSingle()
    const isTooMuch = lines * LINE_COST_BYTES > maxBytes
    if (isTooMuch || !data.append(LINE_FEED) || !data.append(piece.subarray(value, to))) overflow()
  }

  /** Copies the data line, since what follows it stands elsewhere, or the memory that it stands in is used again. */
  function keepSingle(): void {
    if (single !== undefined && !data.append(single.piece.subarray(single.value, single.to))) overflow()
    single = undefined
    naming = undefined
  }

  /** @param blank where the line stands that ends the event; -1 where it doesn't stand in the piece */
  function dispatch(blank: number): void {
    const name = keepsNames && type !== '' ? type : undefined
    const from = single && isInForm(single, blank) ? startOf(single, name !== undefined) : undefined
    if (single !== undefined && from !== undefined) {
      const { piece, value, to } = single
      onEvent({ type, data: piece.toString('utf8', value, to), bytes: piece.subarray(from, blank + 1) })
    } else if (lines > 0) {
      keepSingle()
      if (!reader.isTooLong) onEvent({ type, data: data.view().toString(), bytes: eventBytes(data.view(), name) })
    }
    single = undefined
    naming = undefined
    lines = 0
    type = ''
    data.clear()
  }

  /** From where an event stands in its piece as its bytes have it; `undefined` where its name stands elsewhere. */
  function startOf(line: NonNullable<typeof single>, isNamed: boolean): number | undefined {
    if (!isNamed) return line.from
    const isBefore = naming?.piece === line.piece && naming.to + 1 === line.from && naming.piece[naming.to] === LF
    return isBefore ? naming?.from : undefined
  }

  function overflow(): void {
    reader.isTooLong = true
    single = undefined
    naming = undefined
    line.clear()
    data.clear()
  }

  function isOfUse(part: Buffer): boolean {
    const start = bomLength(part, 0)
    return isField(DATA, part, start, part.length) || isField(EVENT, part, start, part.length)
  }

  function bomLength(piece: Buffer, from: number): number {
    return isFirstLine && startsWith(BOM, piece, from) ? BOM.length : 0
  }

  function close(): void {
    if (reader.isTooLong) return
    if (line.length > 0) endLine(line.view(), 0, 0)
    if (!reader.isTooLong) dispatch(-1)
  }

  return reader
}

/** Whether a data line and the blank one after it stand together as an event's own bytes do: `data: …`, and line feeds. */
function isInForm(line: { piece: Buffer; from: number; value: number; to: number }, blank: number): boolean {
  const { piece, from, value, to } = line
  return value - from === DATA.length + 2 && blank === to + 1 && piece[to] === LF && piece[blank] === LF
}

const LINE_FEED = Buffer.from('\n')
/** What a data line counts at the least, in bytes, for the work that it makes. */
const LINE_COST_BYTES = 64
/** A search by the system costs as much as looking at so many bytes. */
const SHORT_BYTES = 64

/** Where a line ends; the piece's length where it doesn't. */
function lineEnd(piece: Buffer, from: number): number {
  const short = Math.min(piece.length, from + SHORT_BYTES)
  for (let at = from; at < short; at += 1) if (piece[at] === LF || piece[at] === CR) return at
  if (short === piece.length) return short
  const lf = piece.indexOf(LF, short)
  const end = lf < 0 ? piece.length : lf
  // No further than to there: a piece without any would be searched for each line.
  const cr = piece.subarray(short, end).indexOf(CR)
  return cr < 0 ? end : short + cr
}

/** Whether a line is of this field. One without a colon is the field's whole name. */
function isField(name: Buffer, piece: Buffer, from: number, to: number): boolean {
  const end = from + name.length
  return end <= to && startsWith(name, piece, from) && (end === to || piece[end] === COLON)
}

function startsWith(name: Buffer, piece: Buffer, from: number): boolean {
  for (let at = 0; at < name.length; at += 1) if (piece[from + at] !== name[at]) return false
  return true
}

function valueAt(piece: Buffer, colon: number, to: number): number {
  if (colon >= to) return to
  return piece[colon + 1] === SPACE ? Math.min(colon + 2, to) : colon + 1
}
