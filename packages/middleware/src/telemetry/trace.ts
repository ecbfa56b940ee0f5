import {
  CLIENT_LEFT,
  clientHasLeft,
  describeFault,
  endedBy,
  type GatewayRequest,
  type Handler,
  isEventStream,
  type Log,
  type LogLevel,
  type Refusal,
  type Refuse,
  type RequestRecord,
  refusalOfEnded,
  type StreamEnd,
  tap,
} from '../pipeline/index.ts'
import { requestIdFrom } from './request-id.ts'

export interface TraceOptions {
  /** Renders the 500 when a room throws. */
  readonly refuse: Refuse
  /** Found for each request inside the trace, so that a configuration fault is answered and logged like any other. */
  readonly handler: () => Handler
}

/** Where finished log lines go; the host adds its own level and time. */
export type LogSink = (level: LogLevel, line: Readonly<Record<string, unknown>>) => void

/** A request's way in from a host. Never throws. */
export type Entry = (request: GatewayRequest, sink: LogSink) => Promise<Response>

/**
 * The outermost room: gives the request its id and its record, echoes the id as `X-Request-ID`,
 * turns whatever is thrown inside into a 500, and writes one line at the end, which is a stream's own end.
 *
 * A request whose client has left before its answer began is logged with status 499, and never as an error: it is not the
 * gateway's failure. A request that the gateway had ended before it came is answered with that refusal, unread.
 */
export function trace(options: TraceOptions): Entry {
  return async function traced(request, sink) {
    const started = performance.now()
    const record: RequestRecord = { requestId: requestIdFrom(request.headers) }
    const log: Log = (level, event, fields) => {
      const { requestId, promptHash } = record
      sink(level, { event, requestId, ...(promptHash === undefined ? {} : { promptHash }), ...fields })
    }
    const refuse: Refuse = (refusal) => {
      record.refusal = refusal.code
      return options.refuse(refusal)
    }
    const { signal } = request
    let response: Response
    try {
      const ended = endedBy(signal)
      response = ended ? refuse(ended.refusal) : await options.handler()(request, { refuse, record, log })
    } catch (fault) {
      response = refuse(isOfAbort(fault, signal) ? refusalOfEnded(signal) : failed(fault, log))
    }
    const isStream = response.body !== null && isEventStream(response)
    // A fault that was met on the way stays one, and a refusal that was decided before stays in the record.
    if (!isStream && clientHasLeft(signal) && record.refusal !== 'internal_error') {
      response = notAnswered(response)
      if (record.refusal === undefined || record.upstream?.code === 'client_left') record.refusal = CLIENT_LEFT.code
    }
    response.headers.set('x-request-id', record.requestId)
    const { headers } = response
    const finish = (status: number) => {
      const { requestId: _, promptHash: __, price: ___, ...outcome } = record
      log('info', 'request', { ...outcome, status, ms: Math.round(performance.now() - started) })
    }
    if (response.body === null || !isStream) {
      finish(response.status)
      return response
    }
    const { status } = response
    let begun = false
    const onEnd = (end: StreamEnd) => {
      record.stream = end
      if (end !== 'client_left' || begun) return finish(status)
      record.refusal = CLIENT_LEFT.code
      finish(CLIENT_LEFT.status)
    }
    const onPiece = () => {
      begun = true
    }
    const tapped = tap(response.body, onEnd, onPiece)
    return new Response(tapped, { status, headers })
  }
}

/** Whether a fault is only how a wait ended that the request's signal has ended. */
function isOfAbort(fault: unknown, signal: AbortSignal): boolean {
  return signal.aborted && (fault === signal.reason || (fault as Partial<Error>)?.name === 'AbortError')
}

function failed(fault: unknown, log: Log): Refusal {
  log('error', 'fault', describeFault(fault))
  return { code: 'internal_error', status: 500, message: 'An internal server error occurred.' }
}

/** In the place of an answer that has no reader. */
function notAnswered({ headers, body }: Response): Response {
  body?.cancel().catch(() => {})
  for (const name of ['content-type', 'content-length']) headers.delete(name)
  return new Response(null, { status: CLIENT_LEFT.status, headers })
}
