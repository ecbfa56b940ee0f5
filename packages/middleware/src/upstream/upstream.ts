import { parseAnswer } from '../completion/index.ts'
import type { GatewayRequest, Handler, UpstreamFailure } from '../pipeline/index.ts'
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
    const { routed, record } = context
    const outcome = await send(request, routed, record.requestId, options)
    if (typeof outcome === 'string') {
      return new Response(outcome, { status: 200, headers: { 'content-type': 'application/json' } })
    }
    record.upstream = outcome
    return context.refuse({
      code: 'upstream_failed',
      status: 502,
      message: 'The LLM service failed to process the request.',
      upstream: outcome,
    })
  }
}

async function send(
  request: GatewayRequest,
  { target, body }: Routed['routed'],
  requestId: string,
  { connect, firstByteMs, totalMs }: UpstreamOptions,
): Promise<string | UpstreamFailure> {
  const sdk = await import('openai')
  const deadline = AbortSignal.timeout(totalMs)
  const signal = AbortSignal.any([request.signal, deadline])
  try {
    const client = await connect(target.settings)
    const response = await client
      .post('/chat/completions', {
        body,
        signal,
        timeout: Math.min(firstByteMs, totalMs),
        headers: { 'x-request-id': requestId },
      })
      .asResponse()
    const text = await response.text()
    return parseAnswer(text) === undefined ? { status: response.status, code: 'invalid_response' } : text
  } catch (error) {
    const aborted = deadline.aborted ? 'timeout' : request.signal.aborted ? 'client_left' : undefined
    return failureOf(error, sdk, aborted)
  }
}
