export { requestIdFrom } from './request-id.ts'
export { describeFault, type Entry, type LogSink, type OperatorError, type TraceOptions, trace } from './trace.ts'
