export { azureToken } from './azure-token.ts'
export {
  type AllBlocked,
  type Balanced,
  type Balancer,
  type Picking,
  type Waits,
  type WeightedOptions,
  weighted,
} from './balancers/index.ts'
export {
  type ExplainedChoice,
  type ExplainedModel,
  type ExplainedRule,
  explainRoute,
  type RouteExplanation,
} from './explain-route.ts'
export { fallback } from './fallback.ts'
export { type Asking, type Choice, reachableModels } from './pick-model.ts'
export { type ProbeOptions, probe } from './probe.ts'
export { documentReader, type ReadDocumentOptions } from './read-document.ts'
export {
  type Left,
  neverRetry,
  type RetriedModel,
  type RetryPolicy,
  type RetryWithinBudgetOptions,
  retryWithinBudget,
} from './retry.ts'
export { type Asker, rightsOf } from './rights.ts'
export { type Candidate, type Pinned, type Routed, type RouteOptions, route } from './route.ts'
export { SMALLEST_TOKENS, type SmallestCall, type SmallestCallOptions, smallestCall } from './smallest-call.ts'
export { servedElsewhere } from './spillover.ts'
export { cantBeAsked, translatable } from './translation.ts'
export {
  type AnswerHeaders,
  type CallProgress,
  ConnectionFailed,
  type ConnectOptions,
  connect,
  type SendOptions,
  type Transport,
  type TransportAnswer,
} from './transports/index.ts'
export { type UpstreamOptions, upstream } from './upstream.ts'
