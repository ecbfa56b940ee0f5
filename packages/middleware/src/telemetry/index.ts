export { requestIdFrom } from './request-id.ts'
export type { Sampler } from './request-trace.ts'
export { type Entry, type LogSink, type Telemetry, type TraceOptions, trace } from './trace.ts'
