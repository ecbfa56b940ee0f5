export type { BaseContext } from './context.ts'
export { isTimeout, withDeadline } from './deadline.ts'
export { CLIENT_LEFT, clientHasLeft, endedBy, RequestEnded, refusalOfEnded, unlessEnded } from './ended.ts'
export { describeFault, OperatorError } from './fault.ts'
export type { Log, LogLevel } from './log.ts'
export { namesProxy, withoutProxyNearby } from './no-proxy.ts'
export { isOutage, StoreUnavailable } from './outage.ts'
export { type Handler, type Middleware, type Next, type Pipeline, pipeline } from './pipeline.ts'
export type { CacheOutcome, RequestRecord, TokenPrice, TokenUsage } from './record.ts'
export {
  errorCode,
  type Refusal,
  type RefusalCode,
  type Refuse,
  type UpstreamFailure,
  upstreamFailed,
} from './refusal.ts'
export type { GatewayRequest } from './request.ts'
export { type DrainOptions, type RequestsInFlight, requestsInFlight, SHUTTING_DOWN } from './requests-in-flight.ts'
export { isEventStream, type StreamEnd, tap } from './tap.ts'
export { pause, systemTime, type Time } from './time.ts'
export { bodyOf, wholeResponse, wholeStream } from './whole.ts'

/** What sends requests over kept connections; loaded when the first is sent. */
export const loadUndici = () => import('./undici.ts')
