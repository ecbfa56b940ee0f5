import { EVENT_STREAM_HEADERS, parseAnswer, replayEvents } from '../operations/index.ts'
import { wholeResponse } from '../pipeline/index.ts'
import type { CacheEntry } from './entry.ts'

/** Bytes of a stored stream that are sent at a time. */
const PIECE_BYTES = 16 * 1024

/** A stored completion in the form that is asked for: whole, or as a stream, at the pace of its reader. */
export function served(entry: CacheEntry, asStream: boolean, headers: Readonly<Record<string, string>>): Response {
  return asStream
    ? new Response(streamOf(entry), { status: 200, headers: { ...EVENT_STREAM_HEADERS, ...headers } })
    : wholeResponse(entry.answer, {
        status: 200,
        headers: { 'content-type': 'application/json', ...headers },
      })
}

function streamOf({ answer, events }: CacheEntry): ReadableStream<Uint8Array> {
  const pieces = events === undefined ? replayed(answer) : sliced(events)
  return new ReadableStream(
    {
      pull(controller) {
        const { done, value } = pieces.next()
        if (done) controller.close()
        else controller.enqueue(value)
      },
    },
    { highWaterMark: 0 },
  )
}

function* sliced(bytes: Uint8Array): Generator<Uint8Array, void> {
  for (let at = 0; at < bytes.byteLength; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES)
}

function* replayed(answer: Uint8Array): Generator<Uint8Array, void> {
  const parsed = parseAnswer(Buffer.from(answer).toString('utf8'))
  if (parsed === undefined) throw new Error('An entry without a completion was stored')
  for (const event of replayEvents(parsed)) yield Buffer.from(event)
}
