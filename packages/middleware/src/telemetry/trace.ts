import {
  describeFault,
  type GatewayRequest,
  type Handler,
  isEventStream,
  type Log,
  type LogLevel,
  type Refuse,
  type RequestRecord,
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
    let response: Response
    try {
      response = await options.handler()(request, { refuse, record, log })
    } catch (fault) {
      log('error', 'fault', describeFault(fault))
      response = refuse({ code: 'internal_error', status: 500, message: 'An internal server error occurred.' })
    }
    response.headers.set('x-request-id', record.requestId)
    const { status, headers } = response
    const finish = () => {
      const { requestId: _, promptHash: __, price: ___, ...outcome } = record
      log('info', 'request', { ...outcome, status, ms: Math.round(performance.now() - started) })
    }
    if (response.body === null || !isEventStream(response)) {
      finish()
      return response
    }
    const tapped = tap(response.body, (end) => {
      record.stream = end
      finish()
    })
    return new Response(tapped, { status, headers })
  }
}
