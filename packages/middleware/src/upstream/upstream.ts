import { parseAnswer } from '../completion/index.ts'
import { describeFault, type GatewayRequest, type Handler, withDeadline } from '../pipeline/index.ts'
import type { Connect } from './client.ts'
import { failureOf } from './failure.ts'
import { NoAnswer } from './no-answer.ts'
import type { Routed } from './route.ts'
import { openStream } from './stream.ts'

export interface UpstreamOptions {
  readonly connect: Connect
  /** Longest wait for the first byte, in milliseconds. A plain answer's first byte comes when it is complete. */
  readonly firstByteMs: number
  /** Longest wait for the whole of a plain answer, in milliseconds. */
  readonly totalMs: number
  /** Longest silence between two pieces of a streamed answer, in milliseconds. */
  readonly idleMs: number
  /** Longest life of a streamed answer, in milliseconds. */
  readonly streamTotalMs: number
}

/**
 * The innermost room: sends the routed body and answers with what came back, text for text, or as a stream of events if
 * the body asks for one. Anything but a whole completion, or the beginning of a stream, is refused with 502
 * (`upstream_failed`), telling only what is safe to tell.
 */
export function upstream(options: UpstreamOptions): Handler<Routed> {
  return async function upstream(request, context) {
    const { routed, record, log } = context
    const sdk = await import('openai')
    try {
      const call = callOf(options.connect, routed, record.requestId)
      if (routed.body.stream === true) {
        const { firstByteMs, idleMs, streamTotalMs: totalMs } = options
        const stream = await openStream(call, { firstByteMs, idleMs, totalMs, left: request.signal })
        return new Response(stream, { status: 200, headers: STREAM_HEADERS })
      }
      const text = await wholeAnswer(call, request, options)
      return new Response(text, { status: 200, headers: { 'content-type': 'application/json' } })
    } catch (error) {
      const failure = error instanceof NoAnswer ? error.failure : failureOf(error, sdk, request.signal.aborted)
      record.upstream = failure
      // What never reached the model (no token, no such host) is the operator's to mend, and needs more than a code.
      if (failure.status === undefined) log('error', 'upstream failed', describeFault(error))
      return context.refuse({
        code: 'upstream_failed',
        status: 502,
        message: 'The LLM service failed to process the request.',
        upstream: failure,
      })
    }
  }
}

/** Neither a cache nor a proxy on the way may keep a stream or hold it back. */
const STREAM_HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-store',
  'x-accel-buffering': 'no',
}

/** Sends a request to the model. The signal covers the answer's body too. */
type Call = (signal: AbortSignal, timeoutMs: number) => Promise<Response>

function callOf(connect: Connect, { target, body }: Routed['routed'], requestId: string): Call {
  return async (signal, timeout) => {
    const client = await connect(target.settings)
    const headers = { 'x-request-id': requestId }
    return client.post('/chat/completions', { body, signal, timeout, headers }).asResponse()
  }
}

async function wholeAnswer(
  call: Call,
  request: GatewayRequest,
  { firstByteMs, totalMs }: UpstreamOptions,
): Promise<string> {
  // Around all of it: the SDK waits for a token without looking at any signal.
  return withDeadline(totalMs, async (deadline) => {
    const response = await call(AbortSignal.any([request.signal, deadline]), Math.min(firstByteMs, totalMs))
    const text = await boundedText(response)
    if (parseAnswer(text) === undefined) throw new NoAnswer({ status: response.status, code: 'invalid_response' })
    return text
  })
}

/** Far beyond any completion: what is longer comes from something that is no model, and would only fill the memory. */
const MAX_ANSWER_BYTES = 32 * 1024 * 1024

async function boundedText({ status, body }: Response): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  let length = 0
  for await (const chunk of body ?? []) {
    length += chunk.byteLength
    if (length > MAX_ANSWER_BYTES) throw new NoAnswer({ status, code: 'answer_too_large' })
    text += decoder.decode(chunk, { stream: true })
  }
  return text + decoder.decode()
}
