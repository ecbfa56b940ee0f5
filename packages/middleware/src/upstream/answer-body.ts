import { type ByteSource, growingBytes, SPEND_UNKNOWN } from '../pipeline/index.ts'
import { NoAnswer } from './failure.ts'
import { headerOf, type TransportAnswer } from './transports/index.ts'

/** The body of a model's 200, and what it is. */
export interface AnswerBody {
  readonly kind: 'json' | 'events'
  /** What had to be read to see that, without white space before it. */
  readonly head: Buffer
  /** What follows it. */
  readonly rest: ByteSource
}

/**
 * Beyond any completion, and as much as the cache stores: what is longer comes from something that is no model, and would only
 * fill the memory. An operation whose answers may be longer says so. Eight such answers at once are 64 MiB.
 */
export const MAX_ANSWER_BYTES = 8 * 1024 * 1024

/** `retry:` is the longest beginning by which a stream of events is known. */
const TELLING_BYTES = 6
const FIELD = /^(?:data|event|id|retry)?:/
const BOM = '\xef\xbb\xbf'
/** Statuses that have no body, whatever comes. */
const WITHOUT_BODY: ReadonlySet<number> = new Set([204, 205])

/**
 * Looks at a body's first bytes: a stream of events is often labelled as JSON or as nothing, and what was asked for as a
 * stream may come whole. White space before an answer, by which some servers keep the connection, is not kept.
 *
 * @throws NoAnswer where it is neither; what the connection throws
 */
export async function answerBody({ status, headers, body: rest }: TransportAnswer): Promise<AnswerBody> {
  const isLabelled = /^text\/event-stream\b/i.test(headerOf(headers, 'content-type') ?? '')
  let head: Buffer = Buffer.alloc(0)
  while (!WITHOUT_BODY.has(status)) {
    const bytes = await rest.read()
    if (bytes !== undefined) head = trimmed(head.length === 0 ? asBuffer(bytes) : Buffer.concat([head, bytes]))
    const kind = kindOf(head, isLabelled)
    if (kind !== undefined) return { kind, head, rest }
    if (bytes !== undefined && head.length < TELLING_BYTES) continue
    if (isLabelled) return { kind: 'events', head, rest }
    break
  }
  rest.cancel()
  throw new NoAnswer({ status, code: 'invalid_response' }, SPEND_UNKNOWN)
}

/** A body in one piece, in memory of its own. @throws NoAnswer where it is too long; what the connection throws */
export async function wholeOf(
  { head, rest }: AnswerBody,
  status: number,
  maxBytes = MAX_ANSWER_BYTES,
): Promise<Buffer> {
  const bytes = growingBytes(maxBytes)
  for (let piece: Uint8Array | undefined = head; piece !== undefined; piece = await rest.read()) {
    if (bytes.append(piece)) continue
    rest.cancel()
    throw new NoAnswer({ status, code: 'answer_too_large' }, SPEND_UNKNOWN)
  }
  const whole = bytes.view()
  // What is kept of it must not keep more than it counts, and is known again by being the same bytes.
  return whole.byteLength === whole.buffer.byteLength ? whole : Buffer.from(new Uint8Array(whole).buffer)
}

function kindOf(head: Buffer, isLabelled: boolean): AnswerBody['kind'] | undefined {
  const start = head.toString('latin1', 0, TELLING_BYTES)
  if (start.startsWith('{') || start.startsWith('[')) return 'json'
  if (FIELD.test(start)) return 'events'
  return isLabelled && head.length >= TELLING_BYTES ? 'events' : undefined
}

function trimmed(bytes: Buffer): Buffer {
  let at = bytes.toString('latin1', 0, BOM.length) === BOM ? BOM.length : 0
  while (at < bytes.length && isSpace(bytes[at])) at += 1
  return bytes.subarray(at)
}

function isSpace(byte: number | undefined): boolean {
  return byte === 9 || byte === 10 || byte === 13 || byte === 32
}

function asBuffer({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}
