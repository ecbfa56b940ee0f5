import {
  addFacts,
  CLIENT_LEFT,
  clientHasLeft,
  describeFault,
  dollarsText,
  endedBy,
  type Facts,
  type FinishedRequest,
  type GatewayRequest,
  type Handler,
  type HttpReply,
  type HttpResponse,
  isRefusal,
  isStream,
  jsonResponse,
  type Log,
  type LogLevel,
  MODEL_HEADER,
  noFacts,
  REASON_HEADER,
  type Refusal,
  type RefusalCode,
  type ReplyHeaders,
  refusalOfEnded,
  type Step,
  type StepName,
  type Story,
  type StreamOutcome,
  type ToldFacts,
} from '../pipeline/index.ts'
import { requestIdFrom } from './request-id.ts'
import { type Exported, requestTrace } from './request-trace.ts'

export interface TraceOptions {
  /** Renders refusals in the shape of the surface that is called. */
  readonly refuse: (refusal: Refusal) => HttpResponse
  /** Found for each request inside the trace, so that a configuration fault is answered and logged like any other. */
  readonly handler: () => Handler
  /** The event of its line: `request` by default. */
  readonly event?: string
  /** Is told of each request at its end, and of a call that went on after that. What it throws is logged. */
  readonly finished?: (request: FinishedRequest) => void
  /** What exports the requests' spans and metrics; found for each request. `undefined`: nothing does. */
  readonly telemetry?: () => Telemetry | undefined
}

/** Exports what is told of requests. */
export interface Telemetry extends Exported {
  /** Is told as `finished` is. It waits for nothing. */
  finished(request: FinishedRequest): void
}

/** Where finished log lines go; the host adds its own level and time. */
export type LogSink = (level: LogLevel, line: Readonly<Record<string, unknown>>) => void

/** A request's way in from a host. Never throws. */
export type Entry = (request: GatewayRequest, sink: LogSink) => Promise<HttpResponse>

/** What the line says beside what was told. */
interface Outcome {
  readonly status: number
  readonly refusal?: RefusalCode
  readonly stream?: StreamOutcome
}

/**
 * The outermost: gives the request its id, echoes it as `X-Request-ID`, renders refusals, turns whatever is thrown inside into
 * a 500, and writes one line of what was told at the end, which is a stream's own end.
 *
 * A request whose client has left before its answer began is logged with status 499, and never as an error: it is not the
 * gateway's failure. A request that the gateway had ended before it came is answered with that refusal, unread.
 */
export function trace(options: TraceOptions): Entry {
  const { event = 'request' } = options
  return async function traced(request, sink) {
    const started = performance.now()
    const startedAt = Date.now()
    const requestId = requestIdFrom(request.headers)
    const telemetry = options.telemetry?.()
    const trace = requestTrace(request, telemetry)
    const faults: Readonly<Record<string, unknown>>[] = []
    const facts: ToldFacts = noFacts()
    const story = newStory(started)
    let firstTokenMs: number | undefined
    let calls = 0
    const log: Log = (level, name, fields) => {
      if (name === 'fault' && fields !== undefined && faults.length < MOST_FAULTS) faults.push(fields)
      const { promptHash } = facts
      sink(level, {
        event: name,
        requestId,
        ...(trace === undefined ? {} : { traceId: trace.traceId }),
        ...(promptHash === undefined ? {} : { promptHash }),
        ...fields,
      })
    }
    let refused: Refusal | undefined
    const report = (outcome: Outcome, ended: Ended) => {
      if (options.finished === undefined && telemetry === undefined) return
      const more = {
        method: request.method,
        ...(trace === undefined ? {} : { trace }),
        ...(faults.length === 0 ? {} : { faults }),
      }
      const finished = { requestId, firstTokenMs, ...outcome, ...ended, ...more, story: story.told }
      telling(() => options.finished?.(finished))
      telling(() => telemetry?.finished(finished))
    }
    const telling = (tell: () => void) => {
      try {
        tell()
      } catch (fault) {
        log('error', 'fault', describeFault(fault))
      }
    }
    const tell = (more: Facts) => {
      if (more.outlived === undefined) return addFacts(facts, more)
      const { outlived, ...told } = more
      calls += 1
      report(GONE_ON, { call: calls, ...outlived, facts: { ...callerIn(facts), ...told } })
    }
    const finish = (outcome: Outcome) => {
      const { status, ...how } = outcome
      const ms = performance.now() - started
      const line: Record<string, unknown> = { ...facts, ...how, status, ms: Math.round(ms) }
      // The ledger has each of them.
      if (facts.wouldRefuse !== undefined) {
        line.would_refuse = facts.wouldRefuse
        line.wouldRefuse = undefined
      }
      if (facts.attempts !== undefined) {
        line.target = facts.attempts.at(-1)?.target
        line.attempts = facts.attempts.length > 1 ? facts.attempts.length : undefined
      }
      log('info', event, line)
      const ended = { call: 0, startedAt, ms, facts }
      report(outcome, refused === undefined ? ended : { ...ended, ...adviceIn(refused) })
    }

    /** Total: a surface whose `refuse` throws must not leave a request without an answer and a line. */
    const rendered = (refusal: Refusal): HttpResponse => {
      try {
        return options.refuse(refusal)
      } catch (fault) {
        const { status, message } = failed(fault, log)
        return jsonResponse(status, { error: message })
      }
    }

    const { signal } = request
    let reply: HttpReply
    try {
      reply =
        endedBy(signal)?.refusal ??
        (await options.handler()(request, { requestId, log, trace, tell, step: story.step }))
    } catch (fault) {
      reply = isOfAbort(fault, signal) ? refusalOfEnded(signal) : failed(fault, log)
    }
    const refusal = isRefusal(reply) ? reply : undefined
    refused = refusal
    if (refusal?.upstream !== undefined) tell({ upstream: refusal.upstream })
    const response = isRefusal(reply) ? rendered(reply) : reply
    const { body } = response

    if (isStream(body)) {
      const { status, headers } = response
      /** What follows a whole stream: it is settled before its end is read. */
      let last: Uint8Array | undefined
      let isOver = false
      const orLast = (piece: Uint8Array | undefined) => {
        if (piece !== undefined) {
          firstTokenMs ??= performance.now() - started
          return piece
        }
        isOver = true
        return last
      }
      const read = () => (isOver ? Promise.resolve(undefined) : body.read().then(orLast))
      const ended = body.ended.then((end) => {
        const { how: stream, hasBegun } = end
        if (stream === 'complete') last = costComment(facts)
        if (stream !== 'client_left' || hasBegun) finish({ status, stream })
        else finish({ status: CLIENT_LEFT.status, refusal: CLIENT_LEFT.code, stream })
        return end
      })
      return {
        kind: 'response',
        status,
        headers: { ...headers, 'x-request-id': requestId, ...routingHeaders(facts) },
        body: { read, cancel: (reason) => body.cancel(reason), ended },
      }
    }
    // A fault that was met on the way stays one, and a refusal that was decided before stays in the line.
    if (clientHasLeft(signal) && refusal?.code !== 'internal_error') {
      const decided = refusal === undefined || refusal.upstream?.code === 'client_left' ? CLIENT_LEFT : refusal
      finish({ status: CLIENT_LEFT.status, refusal: decided.code })
      return notAnswered(response, requestId)
    }
    finish({ status: response.status, ...(refusal === undefined ? {} : { refusal: refusal.code }) })
    return {
      ...response,
      headers: { ...response.headers, 'x-request-id': requestId, ...routingHeaders(facts), ...costHeader(facts) },
    }
  }
}

type Ended = Pick<FinishedRequest, 'call' | 'startedAt' | 'ms' | 'facts' | 'param' | 'retryAfterMs'>

/** What a field's name is like: a caller's own may be anything, a prompt too. */
const FIELD_NAME = /^[\w.[\]-]{1,64}$/

/** What a caller was told to do about its refusal. */
function adviceIn({ param, headers = {} }: Refusal): Pick<FinishedRequest, 'param' | 'retryAfterMs'> {
  const { 'retry-after-ms': ms, 'retry-after': seconds } = headers
  const retryAfterMs = ms === undefined ? Number(seconds) * 1_000 : Number(ms)
  return {
    ...(param !== undefined && FIELD_NAME.test(param) && { param }),
    ...(Number.isFinite(retryAfterMs) && { retryAfterMs }),
  }
}

/** Of one request, for its spans: the log has all. */
const MOST_FAULTS = 4

/** How a request ended whose call went on for others. */
const GONE_ON: Outcome = { status: CLIENT_LEFT.status, refusal: CLIENT_LEFT.code }

/** Of the request, what is true of all its calls. */
function callerIn({ consumer, plan, policy, promptHash, model, reason }: Facts): Facts {
  return {
    ...(policy === undefined ? {} : { policy }),
    ...(consumer === undefined ? {} : { consumer }),
    ...(plan === undefined ? {} : { plan }),
    ...(promptHash === undefined ? {} : { promptHash }),
    ...(model === undefined ? {} : { model }),
    ...(reason === undefined ? {} : { reason }),
  }
}

/** A request's story, as it is told. */
function newStory(started: number) {
  const steps: Step[] = []
  // With all of its fields from the beginning: an object that grows in a loop of its own costs microseconds a request.
  const told: { -readonly [Field in keyof Story]: Story[Field] } & { steps: Step[] } = {
    steps,
    surface: undefined,
    operation: undefined,
    streamed: undefined,
    route: undefined,
    reserved: undefined,
    standings: undefined,
  }
  let last = started
  const step = (name: StepName, decision: string, more?: Story) => {
    const now = performance.now()
    steps.push({ name, decision, ms: now - last })
    last = now
    if (more === undefined) return
    const { surface, operation, streamed, route, reserved, standings } = more
    if (surface !== undefined) told.surface = surface
    if (operation !== undefined) told.operation = operation
    if (streamed !== undefined) told.streamed = streamed
    if (route !== undefined) told.route = route
    if (reserved !== undefined) told.reserved = reserved
    if (standings !== undefined)
      told.standings = told.standings === undefined ? standings : [...told.standings, ...standings]
  }
  return { told, step }
}

const COST = 'x-tollgate-cost'

/** What a request cost, in US dollars, to the nano-dollar: the line's figure. `undefined` where nobody knows. */
function costText({ costNanoUsd, sparedNanoUsd }: Facts): string | undefined {
  const nano = costNanoUsd ?? (sparedNanoUsd === undefined ? undefined : 0)
  return nano === undefined ? undefined : dollarsText(nano)
}

/** Which model a request came to, and why; nothing of one that came to none. */
function routingHeaders({ model, reason }: Facts): ReplyHeaders {
  return model === undefined || reason === undefined ? NO_HEADERS : { [MODEL_HEADER]: model, [REASON_HEADER]: reason }
}

const NO_HEADERS: ReplyHeaders = {}

function costHeader(facts: Facts): Readonly<Record<string, string>> {
  const cost = costText(facts)
  return cost === undefined ? {} : { [COST]: cost }
}

/** With ONE line feed: some clients take a comment and a blank line for an empty event. */
function costComment(facts: Facts): Uint8Array | undefined {
  const cost = costText(facts)
  return cost === undefined ? undefined : Buffer.from(`: ${COST}: ${cost}\n`)
}

/** Whether a fault is only how a wait ended that the request's signal has ended. */
function isOfAbort(fault: unknown, signal: AbortSignal): boolean {
  return signal.aborted && (fault === signal.reason || (fault as Partial<Error>)?.name === 'AbortError')
}

function failed(fault: unknown, log: Log): Refusal {
  log('error', 'fault', describeFault(fault))
  return { kind: 'refusal', code: 'internal_error', status: 500, message: 'An internal server error occurred.' }
}

/** In the place of an answer that has no reader. */
function notAnswered({ headers }: HttpResponse, requestId: string): HttpResponse {
  const { 'content-type': _type, 'content-length': _length, ...others } = headers
  return { kind: 'response', status: CLIENT_LEFT.status, headers: { ...others, 'x-request-id': requestId }, body: null }
}
