import { parseAnswer } from '../completion/index.ts'
import {
  describeFault,
  type GatewayRequest,
  type Handler,
  type UpstreamFailure,
  withDeadline,
} from '../pipeline/index.ts'
import type { Connect } from './client.ts'
import { failureOf } from './failure.ts'
import type { Routed } from './route.ts'

export interface UpstreamOptions {
  readonly connect: Connect
  /** Longest wait for the first byte, in milliseconds. A plain answer's first byte comes when it is complete. */
  readonly firstByteMs: number
  /** Longest wait for the whole answer, in milliseconds. */
  readonly totalMs: number
}

/**
 * The innermost room: sends the routed body and answers with what came back, text for text.
 * Anything but a whole completion is refused with 502 (`upstream_failed`), telling only what is safe to tell.
 */
export function upstream(options: UpstreamOptions): Handler<Routed> {
  return async function upstream(request, context) {
    const { routed, record, log } = context
    const outcome = await send(request, routed, record.requestId, options)
    if (typeof outcome === 'string') {
      return new Response(outcome, { status: 200, headers: { 'content-type': 'application/json' } })
    }
    record.upstream = outcome.failure
    // What never reached the model (no token, no such host) is the operator's to mend, and needs more than a code.
    if (outcome.failure.status === undefined) log('error', 'upstream failed', describeFault(outcome.error))
    return context.refuse({
      code: 'upstream_failed',
      status: 502,
      message: 'The LLM service failed to process the request.',
      upstream: outcome.failure,
    })
  }
}

interface Failed {
  readonly failure: UpstreamFailure
  readonly error?: unknown
}

async function send(
  request: GatewayRequest,
  { target, body }: Routed['routed'],
  requestId: string,
  { connect, firstByteMs, totalMs }: UpstreamOptions,
): Promise<string | Failed> {
  const sdk = await import('openai')
  try {
    // Around all of it: the SDK waits for a token without looking at any signal.
    return await withDeadline(totalMs, async (deadline) => {
      const client = await connect(target.settings)
      const signal = AbortSignal.any([request.signal, deadline])
      const timeout = Math.min(firstByteMs, totalMs)
      const headers = { 'x-request-id': requestId }
      const response = await client.post('/chat/completions', { body, signal, timeout, headers }).asResponse()
      const text = await response.text()
      if (parseAnswer(text) !== undefined) return text
      return { failure: { status: response.status, code: 'invalid_response' } }
    })
  } catch (error) {
    return { failure: failureOf(error, sdk, request.signal.aborted), error }
  }
}
