import { BrokenStream, EVENT_STREAM_HEADERS } from '../../operations/index.ts'
import { endedBy, type Refusal, type RequestRecord, type Time, upstreamFailed } from '../../pipeline/index.ts'
import { forwardedStatus } from '../cache-status.ts'
import { hit } from '../hit.ts'
import { served } from '../served.ts'
import { noteSpared } from '../spared.ts'
import type { Visit } from '../visit.ts'
import type { Ask } from './asking.ts'
import type { Landing, Seat } from './flight.ts'
import type { Claimed } from './flights.ts'
import type { SharedReader, SharedStream } from './shared-stream.ts'

/** What a boarding comes to: an answer, or nothing that is of use to this request. */
export type Boarded = Response | 'again alone'

const COLLAPSED = forwardedStatus({ collapsed: true })

/** Takes part in a flight, as the one who asks or as one who follows, and answers with what comes of it. */
export async function board(flight: Claimed, visit: Visit, ask: Ask, time: Pick<Time, 'wallClock'>): Promise<Boarded> {
  const { request, context } = visit
  let hasLeft = false
  const errand = { visit, claim: flight.claim, hasLeft: () => hasLeft }
  const seat = flight.join((signal) => ask(errand, signal))

  const landed = await unlessLeft(seat.landed, seat, request.signal, () => {
    hasLeft = true
    leaveToLaterLine(context.record, context.record)
  })
  if (landed === 'left') return turnAway(leftBy(request.signal), visit, seat)
  if (landed.kind !== 'asked') return following(landed, visit, seat, time)
  context.record.cache = 'miss'
  const { response, stream } = landed
  if (stream === undefined) return response
  let isOver = false
  void stream.ended.then(() => {
    isOver = true
  })
  const reader: SharedReader = {
    onEnd: () => void seat.leave(undefined),
    onLeave: (reason) => {
      hasLeft = !seat.leave(reason)
      // What the stream has told so far is not all.
      if (hasLeft && !isOver) leaveToLaterLine(context.record, {})
    },
  }
  return new Response(stream.open(request.signal, reader), { status: 200, headers: response.headers })
}

/**
 * From now on the request's own line leaves out what its call takes, whenever that is noted: the line at the call's end tells
 * it, and the costs of all lines are added up.
 */
function leaveToLaterLine(record: RequestRecord, { usage, costNanoUsd, uncertain }: Partial<RequestRecord>): void {
  const unlisted = { enumerable: false, writable: true, configurable: true }
  for (const [name, value] of Object.entries({ usage, costNanoUsd, uncertain })) {
    Object.defineProperty(record, name, { ...unlisted, value })
  }
}

function following(
  landed: Landing,
  visit: Visit,
  seat: Seat,
  time: Pick<Time, 'wallClock'>,
): Promise<Boarded> | Boarded {
  if (landed.kind === 'alone') return 'again alone'
  if (landed.kind === 'entry') return hit(landed.entry, visit, time)
  const { record } = visit.context
  record.cache = 'collapsed'
  switch (landed.kind) {
    case 'refused':
      return turnAway(landed.refusal, visit, seat)
    case 'whole':
      noteSpared(record, landed.entry.usage)
      return served(landed.entry, visit.asStream, { 'cache-status': COLLAPSED })
    case 'stream':
      return visit.asStream ? tail(landed.stream, visit, seat) : collect(landed.stream, visit, seat)
  }
}

/** The stream of another's call, from its beginning and as it comes. */
function tail(stream: SharedStream, { request, context }: Visit, seat: Seat): Response {
  void stream.ended.then((whole) => noteSpared(context.record, whole?.usage))
  const leave = (reason?: unknown) => void seat.leave(reason)
  const body = stream.open(request.signal, { onEnd: leave, onLeave: leave })
  return new Response(body, { status: 200, headers: { ...EVENT_STREAM_HEADERS, 'cache-status': COLLAPSED } })
}

/** The answer that the stream of another's call adds up to. */
async function collect(stream: SharedStream, visit: Visit, seat: Seat): Promise<Boarded> {
  const { request, context } = visit
  try {
    const whole = await unlessLeft(stream.readToEnd(request.signal), seat, request.signal)
    if (whole === 'left') return turnAway(leftBy(request.signal), visit, seat)
    if (whole === undefined) return 'again alone'
    noteSpared(context.record, whole.usage)
    const headers = { 'content-type': 'application/json', 'cache-status': COLLAPSED }
    return new Response(Buffer.from(whole.answer), { status: 200, headers })
  } catch (fault) {
    if (request.signal.aborted) return turnAway(leftBy(request.signal), visit, seat)
    if (!(fault instanceof BrokenStream)) throw fault
    // It was the other's reservation that was too small.
    if (fault.failure.code === 'reservation_exceeded') return 'again alone'
    return turnAway(upstreamFailed(fault.failure), visit, seat)
  } finally {
    seat.leave(undefined)
  }
}

function turnAway(refusal: Refusal, { context, forwardedAs: fwd }: Visit, seat: Seat): Response {
  const { record } = context
  const collapsed = !seat.asks()
  record.cache = collapsed ? 'collapsed' : 'miss'
  if (refusal.upstream !== undefined) record.upstream = refusal.upstream
  const response = context.refuse(refusal)
  response.headers.set('cache-status', forwardedStatus({ fwd, collapsed }))
  return response
}

/** Why a request ended before it had an answer: nobody reads this one, or the gateway itself ended it. */
function leftBy(signal: AbortSignal): Refusal {
  const ended = endedBy(signal)
  return ended === undefined
    ? upstreamFailed({ code: 'client_left' })
    : { ...ended.refusal, upstream: { code: ended.code } }
}

/** Waits for work until its request has left; one whose own call ends with it waits for that end. */
async function unlessLeft<T>(
  work: Promise<T>,
  seat: Seat,
  signal: AbortSignal,
  onLeft: () => void = () => {},
): Promise<T | 'left'> {
  const { promise: left, resolve } = Promise.withResolvers<'left'>()
  const leave = () => {
    if (seat.leave(signal.reason)) return
    // At once: the call may end in the same turn, since another leaves too.
    onLeft()
    resolve('left')
  }
  if (signal.aborted) leave()
  else signal.addEventListener('abort', leave)
  try {
    return await Promise.race([work, left])
  } finally {
    signal.removeEventListener('abort', leave)
  }
}
