export { type CircuitBreaker, type CircuitBreakerOptions, circuitBreaker } from './circuit-breaker.ts'
export type { BaseContext } from './context.ts'
export { isTimeout, withDeadline } from './deadline.ts'
export { type Digest, digestWith } from './digest.ts'
export { dollarsText } from './dollars.ts'
export { CLIENT_LEFT, clientHasLeft, endedBy, RequestEnded, refusalOfEnded, unlessEnded } from './ended.ts'
export {
  type AskedTarget,
  type Attempt,
  type AttemptFacts,
  addFacts,
  type CacheOutcome,
  type Facts,
  noFacts,
  type StreamOutcome,
  type ToldFacts,
} from './facts.ts'
export { describeFault, OperatorError } from './fault.ts'
export { fnv1a } from './fnv1a.ts'
export { type GrowingBytes, growingBytes } from './growing-bytes.ts'
export {
  type GatewayRequest,
  HOP_BY_HOP_HEADERS,
  type HttpReply,
  type HttpResponse,
  type Input,
  isStream,
  jsonResponse,
  type ReplyHeaders,
  type RequestHeaders,
  toWebResponse,
  withHeaders,
} from './http.ts'
export type { Log, LogLevel } from './log.ts'
export { memoByTwo } from './memo-by-two.ts'
export type { ModelRules, Unasked } from './model-rules.ts'
export { namesProxy, withoutProxyNearby } from './no-proxy.ts'
export { isOutage, StoreUnavailable } from './outage.ts'
export { type Handler, type Middleware, type Next, type Pipeline, pipeline } from './pipeline.ts'
export type { Price, Rates, Thousandths, TokenRates } from './price.ts'
export { PRICED_FIELD_NAMES, PRICED_FIELDS, pricedFields } from './priced-fields.ts'
export {
  errorCode,
  isRefusal,
  type Refusal,
  type RefusalCode,
  tooManyRequests,
  type UpstreamFailure,
  unknownModel,
  upstreamFailed,
  upstreamUnavailable,
} from './refusal.ts'
export { type DrainOptions, type RequestsInFlight, requestsInFlight, SHUTTING_DOWN } from './requests-in-flight.ts'
export { MODEL_HEADER, REASON_HEADER, TARGET_HEADER } from './routing-headers.ts'
export {
  type ByteSource,
  type ByteStream,
  type ByteStreamEnd,
  fromIterable,
  fromWebStream,
  type Source,
  toWebStream,
} from './source.ts'
export {
  type FinishedRequest,
  outcomeOf,
  type RequestOutcome,
  type Standing,
  type Step,
  type StepName,
  type Story,
} from './story.ts'
export type { TargetState } from './target-state.ts'
export { pause, systemTime, type Time } from './time.ts'
export {
  newSpanId,
  newTraceId,
  readTraceparent,
  type TraceContext,
  type TraceParent,
  traceHeaders,
} from './trace-context.ts'
export { untilAborted } from './until-aborted.ts'
export {
  addCounts,
  isWritten,
  NOTHING_SPENT,
  PROMPT_SPENT,
  SPEND_UNKNOWN,
  type Spend,
  type TokenKind,
  type Tokens,
  type TokenUsage,
  tokensRead,
  tokensWritten,
  toldUsage,
  type Usage,
} from './usage.ts'

/** What sends requests over kept connections; loaded when the first is sent. */
export const loadUndici = () => import('./undici.ts')
