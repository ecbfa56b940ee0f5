import { hash } from 'node:crypto'
import {
  type BaseContext,
  bodyOf,
  describeFault,
  isEventStream,
  isOutage,
  type Middleware,
  type Refusal,
  type RequestRecord,
  refusalOfEnded,
  wholeResponse,
} from '../pipeline/index.ts'
import { parseAnswer } from './answer.ts'
import { parseJson, readBody } from './body.ts'
import type { Codec } from './codec.ts'
import type { Digest } from './digest.ts'
import { type EventEncoder, encodeStream } from './encode-stream.ts'
import type { CompletionRequest } from './request.ts'
import { noteUsage } from './usage.ts'
import { usageTally } from './usage-tally.ts'

export interface ParseOptions {
  readonly codec: Codec
  readonly maxBodyBytes: number
  readonly digest: Digest
  /** A stream that is silent for so long gets a comment, in milliseconds. */
  readonly heartbeatMs: number
}

export interface Parsed {
  readonly completion: CompletionRequest
  /** SHA-256 of the body as it came. Without a secret in it, so that it must not leave the process. */
  readonly bodyDigest: string
}

/**
 * Reads the body, once, and adds the completion request that it holds; on the way back, gives a 200 the route's shape.
 * Refuses with 413 (`request_too_large`) and 400 (`invalid_json`, `invalid_request`: also a body in many tiny pieces); 499
 * (`client_left`) where the client broke off its upload.
 */
export function parse(options: ParseOptions): Middleware<{}, Parsed> {
  const { codec, maxBodyBytes, digest, heartbeatMs } = options
  /** Of answers that were given before: what the cache keeps comes again and again as the same bytes. */
  const encoded = new WeakMap<Buffer, Buffer>()

  return async function parse(request, context, next) {
    const bytes = await readBody(request, maxBodyBytes)
    if (bytes === 'ended') return context.refuse(refusalOfEnded(request.signal))
    if (typeof bytes === 'string') return context.refuse(bytes === 'too large' ? tooLarge(maxBodyBytes) : IN_PIECES)
    const json = parseJson(bytes)
    if (json === undefined) return context.refuse(INVALID_JSON)
    const completion = codec.decode(json.value)
    if ('code' in completion) return context.refuse(completion)

    context.record.promptHash = digest(completion.prompt)
    const response = await next({ completion, bodyDigest: hash('sha256', bytes, 'base64url') })
    if (response.status !== 200) return response
    return isEventStream(response) ? stream(response, context) : encode(response)
  }

  async function encode(response: Response): Promise<Response> {
    const answer = await bodyOf(response)
    const body = encoded.get(answer) ?? encodedWith(codec, answer)
    encoded.set(answer, body)
    const { headers } = response
    headers.set('content-type', 'application/json')
    return wholeResponse(body, { status: 200, headers })
  }

  function stream(response: Response, { record, log }: BaseContext): Response {
    if (response.body === null) throw new Error('A stream without a body came from inside')
    const events = encodeStream(response.body, {
      encoder: noting(codec.events(), record),
      heartbeatMs,
      onBroken({ failure, cause }) {
        record.upstream = failure
        // The request's own line says so.
        if (failure.code === 'client_left') return
        const told = { upstream: failure, ...(cause === undefined ? {} : describeFault(cause)) }
        if (cause === undefined || isOutage(cause)) log('warn', 'stream broken', told)
        else log('error', 'fault', told)
      },
    })
    return new Response(events, { status: 200, headers: response.headers })
  }
}

/** What a stream tells of its usage is noted where no room within has done so or knows better, and where it was spent. */
function noting(encoder: EventEncoder, record: RequestRecord): EventEncoder {
  const tally = usageTally()
  let noted: RequestRecord['usage']
  return {
    ...encoder,
    chunk(chunk) {
      tally.add(chunk)
      const { usage } = tally
      if (usage !== undefined && record.usage === noted && !record.uncertain && isOwn(record)) {
        noteUsage(record, usage)
        noted = usage
      }
      return encoder.chunk(chunk)
    },
  }
}

/** Whether it was for this request that the model was asked. */
function isOwn({ cache }: RequestRecord): boolean {
  return cache !== 'hit' && cache !== 'collapsed'
}

/** What is left of the body is not read, so the connection can't be used again. */
const UNREAD = { connection: 'close' }

const INVALID_JSON: Refusal = { code: 'invalid_json', status: 400, message: 'Invalid JSON format' }

function tooLarge(maxBodyBytes: number): Refusal {
  return {
    code: 'request_too_large',
    status: 413,
    message: `The request body is larger than ${maxBodyBytes} bytes.`,
    headers: UNREAD,
  }
}

const IN_PIECES: Refusal = {
  code: 'invalid_request',
  status: 400,
  message: 'The request body came in too many pieces of a few bytes each. Send it in larger ones.',
  headers: UNREAD,
}

function encodedWith(codec: Codec, bytes: Buffer): Buffer {
  const answer = parseAnswer(bytes.toString())
  if (answer === undefined) throw new Error('A 200 without a completion came from inside')
  // In memory of its own: what is remembered must not keep a common buffer.
  return Buffer.from(new TextEncoder().encode(JSON.stringify(codec.encode(answer))).buffer)
}
