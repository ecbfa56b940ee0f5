import {
  addFacts,
  type BaseContext,
  type ByteSource,
  type ByteStream,
  type ByteStreamEnd,
  type Facts,
  type GatewayRequest,
  type HttpReply,
  type HttpResponse,
  isStream,
  RequestEnded,
  type Source,
  type StreamOutcome,
  type ToldFacts,
} from '@tollgate/middleware'

/** A request with nothing in it, for a middleware that is tested alone. */
export const request: GatewayRequest = {
  method: 'POST',
  url: new URL('http://127.0.0.1/'),
  headers: new Headers(),
  body: null,
  clientAddress: '203.0.113.1',
  signal: new AbortController().signal,
}

/** A base context, and what was told to it for the request's line, for a middleware that is tested alone. */
export interface ToldContext extends BaseContext {
  readonly told: Facts
}

/** @param change what the test wants different */
export function baseContext(change: Partial<BaseContext> = {}): ToldContext {
  const told: ToldFacts = {}
  return {
    requestId: 'r',
    log: () => {},
    tell({ outlived, attempts: _, ...facts }) {
      if (outlived === undefined) addFacts(told, facts)
    },
    step: () => {},
    told,
    ...change,
  }
}

/** An answer of this text. */
export function textReply(text: string, status = 200): HttpResponse {
  return { kind: 'response', status, headers: {}, body: Buffer.from(text) }
}

/** The text of an answer, read to its end; of a refusal its code. @throws what a stream throws */
export async function replyText(reply: HttpReply): Promise<string> {
  if (reply.kind === 'refusal') return reply.code
  if (!isStream(reply.body)) return Buffer.from(reply.body ?? []).toString()
  return Buffer.concat(await piecesOf(reply.body)).toString()
}

/** All that is left of a source. */
export async function piecesOf<T>(source: Source<T>): Promise<T[]> {
  const pieces: T[] = []
  for (let piece = await source.read(); piece !== undefined; piece = await source.read()) pieces.push(piece)
  return pieces
}

export interface PlayedSource<T> {
  readonly source: Source<T>
  /** Gives this to who reads. */
  give(piece: T): void
  end(): void
  fail(fault: unknown): void
  /** Told of each cancel, with its reason. */
  readonly onCancel: (told: (reason: unknown) => void) => void
  /** How often somebody read. */
  reads(): number
}

/** A source that a test plays. It keeps what is given until it is read. */
export function playedSource<T>(): PlayedSource<T> {
  type Outcome = { readonly piece: T | undefined } | { readonly fault: unknown }
  const ready: Outcome[] = []
  let waiting: PromiseWithResolvers<T | undefined> | undefined
  let told: (reason: unknown) => void = () => {}
  let isCancelled = false
  let reads = 0
  const settle = (outcome: Outcome, to: PromiseWithResolvers<T | undefined>) =>
    'fault' in outcome ? to.reject(outcome.fault) : to.resolve(outcome.piece)
  const come = (outcome: Outcome) => {
    const reader = waiting
    waiting = undefined
    if (reader === undefined) ready.push(outcome)
    else settle(outcome, reader)
  }
  return {
    source: {
      read() {
        reads += 1
        const deferred = Promise.withResolvers<T | undefined>()
        const outcome = isCancelled ? { piece: undefined } : ready.shift()
        if (outcome === undefined) waiting = deferred
        else settle(outcome, deferred)
        return deferred.promise
      },
      cancel(reason) {
        if (isCancelled) return
        isCancelled = true
        told(reason)
        come({ piece: undefined })
      },
    },
    give: (piece) => come({ piece }),
    end: () => come({ piece: undefined }),
    fail: (fault) => come({ fault }),
    onCancel: (listener) => {
      told = listener
    },
    reads: () => reads,
  }
}

/** A source as the body of a streamed response. @param settled resolves when what it holds is settled */
export function streamBody(source: ByteSource, settled: Promise<unknown> = Promise.resolve()): ByteStream {
  const { promise: ended, resolve } = Promise.withResolvers<ByteStreamEnd>()
  let hasBegun = false
  const end = async (how: StreamOutcome) => {
    await settled
    resolve({ how, hasBegun })
    await ended
  }
  return {
    ended,
    async read() {
      let piece: Uint8Array | undefined
      try {
        piece = await source.read()
      } catch (fault) {
        await end('broken')
        throw fault
      }
      if (piece === undefined) await end('complete')
      else hasBegun = true
      return piece
    },
    cancel(reason) {
      source.cancel(reason)
      void end(reason instanceof RequestEnded ? 'broken' : 'client_left')
    },
  }
}
