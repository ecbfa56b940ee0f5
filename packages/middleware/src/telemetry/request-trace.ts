import { type GatewayRequest, newSpanId, newTraceId, readTraceparent, type TraceContext } from '../pipeline/index.ts'

/**
 * Whether the spans of a request are exported.
 *
 * @param parent what the span that it came from says; `undefined` where there is none, or where it leaves that open
 */
export type Sampler = (traceId: string, parent: boolean | undefined) => boolean

/** How the spans of requests are exported. */
export interface Exported {
  readonly sampler: Sampler
  /** Whether the host records a request of its own. The span of a host that records none is no parent. */
  readonly hasHostRequest: boolean
}

/**
 * The trace of a request: the host's own span is its parent, else what its client sent. Where nothing came, it has one only if
 * spans are exported.
 *
 * @param exported `undefined` where this process exports none
 */
export function requestTrace({ hostSpan, headers }: GatewayRequest, exported?: Exported): TraceContext | undefined {
  const host = exported?.hasHostRequest === false ? undefined : readTraceparent(hostSpan?.traceparent)
  const parent = host ?? readTraceparent(headers.get('traceparent'))
  if (parent === undefined) {
    if (exported === undefined) return undefined
    const traceId = newTraceId()
    const isSampled = exported.sampler(traceId, undefined)
    return { traceId, parentId: undefined, spanId: newSpanId(), isSampled, state: undefined }
  }
  const { traceId, parentId, isSampled } = parent
  const state = (host === undefined ? headers.get('tracestate') : hostSpan?.tracestate) ?? undefined
  if (exported === undefined) return { traceId, parentId, spanId: undefined, isSampled, state }
  // The host of Azure Functions leaves the flag unset in all spans of its classic mode, also in those that it records.
  const told = host === undefined ? isSampled : host.isSampled || undefined
  return { traceId, parentId, spanId: newSpanId(), isSampled: exported.sampler(traceId, told), state }
}
