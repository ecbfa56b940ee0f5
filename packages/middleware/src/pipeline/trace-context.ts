/*
 * W3C Trace Context (https://www.w3.org/TR/trace-context/): the headers `traceparent` and `tracestate`.
 */

/** The trace that a request is a part of, and its place in it. */
export interface TraceContext {
  /** 32 hexadecimal digits in lower case, not all of them 0. */
  readonly traceId: string
  /** 16 digits: the span that the request came from; `undefined` where the trace begins here. */
  readonly parentId: string | undefined
  /** The request's own span; `undefined` where this process exports none. Then what came is passed on as it came. */
  readonly spanId: string | undefined
  /** Whether the trace is recorded; where this process exports spans, whether it exports this request's. */
  readonly isSampled: boolean
  /** The caller's `tracestate`, unread: what other systems say of the trace. */
  readonly state: string | undefined
}

/** What a `traceparent` says. */
export interface TraceParent {
  readonly traceId: string
  readonly parentId: string
  readonly isSampled: boolean
}

/** Version, trace, parent, flags; neither id all zeros. A later version may add to it (section 3.2.4). */
const TRACEPARENT = /^(?!ff)[\da-f]{2}-(?!0{32})[\da-f]{32}-(?!0{16})[\da-f]{16}-[\da-f]{2}(?:$|-)/
const LENGTH = 55
const SAMPLED = 1

/** `undefined` for what is no `traceparent`: a trace then begins anew (section 3.2.2). */
export function readTraceparent(text: string | null | undefined): TraceParent | undefined {
  if (!text || !TRACEPARENT.test(text) || (text.length > LENGTH && text.startsWith('00'))) return undefined
  const isSampled = (Number.parseInt(text.slice(53, LENGTH), 16) & SAMPLED) === SAMPLED
  return { traceId: text.slice(3, 35), parentId: text.slice(36, 52), isSampled }
}

/** A `key=value` of a `tracestate` (section 3.3.1.3). */
const MEMBER = /^[a-z\d][a-z\d_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/
const MOST_MEMBERS = 32
/** Every system must pass on as many characters (section 3.3.1.5); what is longer may be dropped. */
const MOST_STATE = 512

function isTracestate(text: string): boolean {
  if (text.length > MOST_STATE || !/^[\x20-\x7e]+$/.test(text)) return false
  const members = text.split(',')
  return members.length <= MOST_MEMBERS && members.every((member) => member.trim() === '' || MEMBER.test(member.trim()))
}

/**
 * The headers by which a call takes part in a trace: names and values by turns.
 *
 * @param spanId of the call's own span; `undefined` where none is exported
 */
export function traceHeaders(
  { traceId, parentId, isSampled, state }: TraceContext,
  spanId?: string,
): readonly string[] {
  const parent = spanId ?? parentId
  if (parent === undefined) return []
  const headers = ['traceparent', `00-${traceId}-${parent}-${isSampled ? '01' : '00'}`]
  if (state && isTracestate(state)) headers.push('tracestate', state)
  return headers
}

/** Eight random digits. An id need not be a secret, and is made for every request: no random bytes are asked of the system. */
function digits(): string {
  return ((Math.random() * 0x1_0000_0000) >>> 0).toString(16).padStart(8, '0')
}

export function newTraceId(): string {
  return newSpanId() + newSpanId()
}

export function newSpanId(): string {
  const id = digits() + digits()
  return /[^0]/.test(id) ? id : newSpanId()
}
