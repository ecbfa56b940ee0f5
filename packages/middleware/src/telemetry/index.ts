export { requestIdFrom } from './request-id.ts'
export { type Entry, type LogSink, type TraceOptions, trace } from './trace.ts'
