import type { StreamOutcome } from './facts.ts'

/**
 * What comes piece by piece inside the gateway, in place of a web stream: it has no queue and reads nothing ahead, so that
 * the slowest part sets the pace, and a cancel takes effect at once.
 *
 * Who receives a source reads it to its end or cancels it, on every path, faults too: else what the stream holds (a
 * reservation, a slot, a connection) is held for good.
 */
export interface Source<T> {
  /**
   * The next piece, as soon as it has come; `undefined` at the end, and after a cancel. At most one read at a time. Rejects
   * where the source breaks off.
   */
  read(): Promise<T | undefined>
  /**
   * Ends the source at once, also under a pending read, which then resolves with `undefined`. Does nothing once the source
   * has ended.
   */
  cancel(reason?: unknown): void
}

export type ByteSource = Source<Uint8Array>

/** The body of a streamed response. */
export interface ByteStream extends ByteSource {
  /**
   * Resolves, and never rejects, when the stream has ended or was cancelled and all that it held is settled and told: before
   * the read that gives its end does.
   */
  readonly ended: Promise<ByteStreamEnd>
}

export interface ByteStreamEnd {
  readonly how: StreamOutcome
  /** Whether any of it was read. */
  readonly hasBegun: boolean
}

/** A web stream as a source. */
export function fromWebStream<T>(stream: ReadableStream<T>): Source<T> {
  const reader = stream.getReader()
  return {
    async read() {
      const { done, value } = await reader.read()
      return done ? undefined : value
    },
    cancel: (reason) => void reader.cancel(reason).catch(() => {}),
  }
}

/** A source as a web stream, for a host that takes no other: the only one on an answer's way. */
export function toWebStream<T>(source: Source<T>): ReadableStream<T> {
  return new ReadableStream<T>(
    {
      async pull(controller) {
        const piece = await source.read()
        if (piece === undefined) controller.close()
        else controller.enqueue(piece)
      },
      cancel: (reason) => source.cancel(reason),
    },
    { highWaterMark: 0 },
  )
}

/** The pieces of an iterable, one at each read. */
export function fromIterable<T>(pieces: Iterable<T>): Source<T> {
  const iterator = pieces[Symbol.iterator]()
  let isOver = false
  return {
    async read() {
      if (isOver) return undefined
      const { done, value } = iterator.next()
      if (done) isOver = true
      return done ? undefined : value
    },
    cancel() {
      if (isOver) return
      isOver = true
      iterator.return?.()
    },
  }
}
