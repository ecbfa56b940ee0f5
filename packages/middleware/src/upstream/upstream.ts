import { EVENT_STREAM_HEADERS, noteUsage, parseAnswer, usageOf } from '../completion/index.ts'
import {
  endedBy,
  type GatewayRequest,
  type Handler,
  isOutage,
  type RequestRecord,
  upstreamFailed,
  withDeadline,
} from '../pipeline/index.ts'
import { type CallProgress, following } from './call-progress.ts'
import type { Connect } from './client.ts'
import { failureOf } from './failure.ts'
import { logFailure } from './failure-log.ts'
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

/** What the rooms before must have settled. */
interface Callable {
  readonly routed: Pick<Routed['routed'], 'target' | 'body'>
}

/**
 * The innermost room: sends the routed body and answers with what came back, text for text, or as a stream of events if
 * the body asks for one. Anything but a whole completion, or the beginning of a stream, is refused with 502
 * (`upstream_failed`), telling only what is safe to tell; the record says whether the model may have generated something
 * nonetheless. A programming fault is thrown on, whatever the record says of it. Where the gateway itself ends the request,
 * it is answered as that says, and its call ends too.
 */
export function upstream(options: UpstreamOptions): Handler<Callable> {
  return async function upstream(request, context) {
    const { routed, record, log } = context
    const { openai } = await import('./sdk.ts')
    const progress: CallProgress = {}
    try {
      const call = callOf(options.connect, routed, { requestId: record.requestId, progress })
      if (routed.body.stream === true) {
        const { firstByteMs, idleMs, streamTotalMs: totalMs } = options
        const stream = await openStream(call, { firstByteMs, idleMs, totalMs, left: request.signal })
        return new Response(stream, { status: 200, headers: EVENT_STREAM_HEADERS })
      }
      const text = await wholeAnswer(call, request, record, options)
      return new Response(text, { status: 200, headers: { 'content-type': 'application/json' } })
    } catch (error) {
      const ended = endedBy(request.signal)
      const clientLeft = request.signal.aborted && ended === undefined
      const failure = error instanceof NoAnswer ? error.failure : failureOf(error, openai, { clientLeft, progress })
      if (ended !== undefined) {
        record.upstream = { ...(failure.unspent ? { unspent: true } : {}), code: ended.code }
        return context.refuse(ended.refusal)
      }
      record.upstream = failure
      // A refusal stands, whatever the SDK made of its body.
      const isAnswered = error instanceof NoAnswer || progress.refused !== undefined
      if (!clientLeft && !isAnswered && !isOutage(error)) throw error
      // A call that was broken off since its client has left is nothing that an operator could mend.
      if (!clientLeft || failure.status !== undefined) logFailure(log, failure, { error, progress })
      return context.refuse(upstreamFailed(failure))
    }
  }
}

/** Sends a request to the model. The signal covers the answer's body too. */
type Call = (signal: AbortSignal, timeoutMs: number) => Promise<Response>

function callOf(
  connect: Connect,
  { target, body }: Callable['routed'],
  { requestId, progress }: { readonly requestId: string; readonly progress: CallProgress },
): Call {
  return async (signal, timeout) => {
    const client = await connect(target.settings)
    const headers = { 'x-request-id': requestId }
    const fetchOptions = following(progress)
    return client.post('/chat/completions', { body, signal, timeout, headers, fetchOptions }).asResponse()
  }
}

async function wholeAnswer(
  call: Call,
  request: GatewayRequest,
  record: RequestRecord,
  { firstByteMs, totalMs }: UpstreamOptions,
): Promise<string> {
  // Around all of it: the SDK waits for a token without looking at any signal.
  return withDeadline(totalMs, async (deadline) => {
    const response = await call(AbortSignal.any([request.signal, deadline]), Math.min(firstByteMs, totalMs))
    const text = await boundedText(response)
    const answer = parseAnswer(text)
    if (answer === undefined) throw new NoAnswer({ status: response.status, code: 'invalid_response' })
    const usage = usageOf(answer.usage)
    if (usage !== undefined) noteUsage(record, usage)
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
