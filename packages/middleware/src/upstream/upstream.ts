import { EVENT_STREAM_HEADERS, noteUsage, type ToldUsage } from '../operations/index.ts'
import {
  endedBy,
  type GatewayRequest,
  type Handler,
  isOutage,
  type RequestRecord,
  upstreamFailed,
  wholeResponse,
  withDeadline,
} from '../pipeline/index.ts'
import { type CallProgress, following } from './call-progress.ts'
import type { Connect } from './client.ts'
import { failureOf } from './failure.ts'
import { logFailure } from './failure-log.ts'
import { NoAnswer } from './no-answer.ts'
import type { Routed } from './route.ts'
import { openStream } from './stream.ts'
import { wholeAnswer } from './whole-answer.ts'

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
  /**
   * How long the end of a stream is waited for once its answer and its usage are there, in milliseconds; five times as long
   * where the usage is still to come. 2,000 by default.
   */
  readonly endGraceMs?: number
}

const END_GRACE_MS = 2_000

/** What the rooms before must have settled. */
interface Callable {
  readonly routed: Pick<Routed['routed'], 'target' | 'body'>
}

/**
 * The innermost room: sends the routed body and answers with the completion that came back, byte for byte, or as a stream
 * of events if the body asks for one, in whichever of the two forms the model sends it. Anything but a whole completion, or the beginning of a stream, is refused with 502
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
        const { firstByteMs, idleMs, streamTotalMs: totalMs, endGraceMs = END_GRACE_MS } = options
        const onUsage = (told: ToldUsage) => noteTold(record, told)
        const bounds = { firstByteMs, idleMs, totalMs, endGraceMs }
        const stream = await openStream(call, { ...bounds, left: request.signal, onUsage })
        return new Response(stream, { status: 200, headers: EVENT_STREAM_HEADERS })
      }
      const answer = await answerOf(call, request, record, options)
      return wholeResponse(answer, { status: 200, headers: { 'content-type': 'application/json' } })
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

async function answerOf(
  call: Call,
  request: GatewayRequest,
  record: RequestRecord,
  { firstByteMs, totalMs, idleMs, endGraceMs = END_GRACE_MS }: UpstreamOptions,
): Promise<Buffer> {
  let isOver = false
  const onUsage = (told: ToldUsage) => {
    // At the deadline it is settled by what was noted until then.
    if (!isOver) noteTold(record, told)
  }
  try {
    // Around all of it: the SDK waits for a token without looking at any signal.
    return await withDeadline(totalMs, async (deadline) => {
      const signal = AbortSignal.any([request.signal, deadline])
      const response = await call(signal, Math.min(firstByteMs, totalMs))
      return wholeAnswer(response, { idleMs, endGraceMs, signal, onUsage })
    })
  } finally {
    isOver = true
  }
}

function noteTold(record: RequestRecord, { usage, isCertain }: ToldUsage): void {
  noteUsage(record, usage)
  if (isCertain) delete record.uncertain
  else record.uncertain = true
}
