import type { AnswerReply, BrokenStream, Call, EventSource, Reply, StreamReply } from '../operations/index.ts'
import {
  type BaseContext,
  type Digest,
  describeFault,
  type GatewayRequest,
  type Handler,
  type HttpResponse,
  isOutage,
  isRefusal,
  type Refusal,
  refusalOfEnded,
  withHeaders,
} from '../pipeline/index.ts'
import { decodedCall } from './decoded-call.ts'
import { type BodyRefused, readBody } from './request-body.ts'
import type { EventWriter, Surface } from './surface.ts'
import { EVENT_STREAM_HEADERS, writtenStream } from './written-stream.ts'

export interface CompletionsOptions<Needs extends object> {
  readonly surface: Surface
  readonly maxBodyBytes: number
  /** The most that an answer may be asked to have, in tokens of each choice. */
  readonly maxOutputTokens: number
  readonly digest: Digest
  /** A stream that is silent for so long gets a comment, in milliseconds. */
  readonly heartbeatMs: number
  /** The call onion. */
  readonly handler: Handler<Needs, Call, Reply>
}

/**
 * Where the HTTP onion ends and the call onion begins: reads the body, once, decodes it by the surface, and writes the reply in
 * the surface's shape. Refuses with 413 (`request_too_large`) and 400 (`invalid_json`, `invalid_request`: also a body in many
 * tiny pieces); 499 (`client_left`) where the client broke off its upload.
 */
export function completions<Needs extends object>(options: CompletionsOptions<Needs>): Handler<Needs> {
  const { surface, maxBodyBytes, maxOutputTokens, digest, heartbeatMs, handler } = options
  /** Of answers that were given before: what the cache keeps comes again and again as the same bytes. */
  const encoded = new WeakMap<Buffer, Uint8Array>()

  function encode({ answer, storable }: AnswerReply): Uint8Array {
    if (!storable) return surface.encode(answer)
    let bytes = encoded.get(answer.bytes)
    if (bytes === undefined) {
      bytes = surface.encode(answer)
      encoded.set(answer.bytes, bytes)
    }
    return bytes
  }

  function unread(why: BodyRefused | 'ended', { signal }: GatewayRequest): Refusal {
    if (why === 'ended') return refusalOfEnded(signal)
    return why === 'too large' ? tooLarge(maxBodyBytes) : IN_PIECES
  }

  return async function completions(request, context) {
    const bytes = await readBody(request, maxBodyBytes)
    const decoded =
      typeof bytes === 'string' ? unread(bytes, request) : decodedCall(surface, bytes, request, { maxOutputTokens })
    const { name, operation } = surface
    const told = { surface: name, operation: operation.name }
    if (isRefusal(decoded)) {
      context.step('body', decoded.code, told)
      return decoded
    }
    const { prompt, call } = decoded
    context.tell({ promptHash: digest(prompt) })
    context.step('body', 'decoded', { ...told, streamed: call.streamed })
    const reply = await handler(call, context)
    switch (reply.kind) {
      case 'refused':
        return withHeaders(reply.refusal, reply.headers)
      case 'answer':
        return {
          kind: 'response',
          status: 200,
          headers: { 'content-type': 'application/json', ...reply.headers },
          body: encode(reply),
        }
      case 'stream':
        return stream(reply, call, context)
    }
  }

  function stream({ events, ended, headers }: StreamReply, call: Call, { log, tell }: BaseContext): HttpResponse {
    const onBroken = ({ failure, cause }: BrokenStream) => {
      tell({ upstream: failure })
      // The request's own line says so.
      if (failure.code === 'client_left') return
      const told = { upstream: failure, ...(cause === undefined ? {} : describeFault(cause)) }
      if (cause === undefined || isOutage(cause)) log('warn', 'stream broken', told)
      else log('error', 'fault', told)
    }
    const body = writtenStream(events, { writer: writerFor(events, call), heartbeatMs, ended, onBroken })
    return { kind: 'response', status: 200, headers: { ...EVENT_STREAM_HEADERS, ...headers }, body }
  }

  function writerFor(events: EventSource, call: Call): EventWriter {
    try {
      return surface.events(call)
    } catch (fault) {
      // Nobody will read what it can't write.
      events.cancel(fault)
      throw fault
    }
  }
}

/** What is left of the body is not read, so the connection can't be used again. */
const UNREAD = { connection: 'close' }

function tooLarge(maxBodyBytes: number): Refusal {
  return {
    kind: 'refusal',
    code: 'request_too_large',
    status: 413,
    message: `The request body is larger than ${maxBodyBytes} bytes.`,
    headers: UNREAD,
  }
}

const IN_PIECES: Refusal = {
  kind: 'refusal',
  code: 'invalid_request',
  status: 400,
  message: 'The request body came in too many pieces of a few bytes each. Send it in larger ones.',
  headers: UNREAD,
}
