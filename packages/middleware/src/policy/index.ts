export { type PolicyChange, policyChanges } from './changes.ts'
export {
  AddressNotAllowed,
  type ConnectionCheck,
  type ConnectionCheckOptions,
  connectionCheck,
  type EgressPolicy,
  isLoopback,
} from './egress.ts'
export {
  type DocumentSource,
  type LoadedPolicy,
  type LoadOptions,
  loadPolicy,
  outlinePolicy,
  outlinePolicyText,
  POLICY_FILE,
  type PolicyFile,
  type PolicyLocation,
  type PolicyText,
  readPolicy,
  readPolicyFile,
  resolvePolicyText,
  strayPolicy,
} from './file.ts'
export { type Group, isGroupValue, MOST_GROUPS } from './group.ts'
export { type Identity, type Issuer, MANAGING_ROLES } from './identity.ts'
export {
  type BudgetLimit,
  type ConcurrencyLimit,
  type Epoch,
  type Limit,
  largestClaim,
  type Measure,
  type RateLimit,
  type Spending,
} from './limit.ts'
export { type InForce, type LivePolicyOptions, livePolicy, placeOf, type StartPolicy } from './live.ts'
export { DEFAULT_RETRY, type Model, type OutlinedTarget, type RetryRule, type Rights, rulesOf } from './model.ts'
export { type MoneyLimits, moneyLimits, moneyText } from './money.ts'
export { closestName, listText, name as nameSchema } from './names.ts'
export {
  limitsOfKey,
  type NarrowedPolicy,
  type Narrowing,
  type NarrowingFault,
  narrowedRights,
  narrowing,
  narrowingFault,
} from './narrowing.ts'
export { pinPolicy, type WithPolicy } from './pin-policy.ts'
export type { Plan } from './plan.ts'
export { type Policy, PolicyError } from './policy.ts'
export { listedPrice, type PriceDocument, price as priceSchema, priceFaults, resolvePrice } from './price.ts'
export {
  BOOK_DATE,
  BOOK_NAMES,
  BOOK_SOURCE,
  bookAgeDays,
  nearBookNames,
  oldBookText,
  outputFieldOf,
} from './price-book.ts'
export { type PriceJson, priceJson, type TokenRatesJson } from './price-json.ts'
export {
  type KnownRoutes,
  type OutlinedModel,
  type PolicyOutline,
  type ResolveOptions,
  resolvePolicy,
} from './resolve.ts'
export {
  digestOf,
  type Head,
  type KeptRevision,
  type PolicyRevisions,
  type PolicyRevisionsOptions,
  type Proposal,
  policyRevisions,
  type Revision,
  RevisionLost,
  revisionText,
  shortDigest,
} from './revisions.ts'
export { type CacheRule, DEFAULT_MODEL, ROUTES, type RoutePolicy, routeOf, type TransformRule } from './route.ts'
export { policyJsonSchema } from './schema.ts'
export { servedText } from './served-text.ts'
export { fixedPolicy, type PolicySource, PolicyUnknown } from './source.ts'
export { identityOf, isSimulated, type KnownKinds, type Target, type TargetPlacing, targetsFor } from './target.ts'
export { dearestPrice, pricesAt, type TargetPrices } from './target-price.ts'
export type { UsageKept } from './usage.ts'
export {
  type AliasModel,
  modelsBehind,
  picksOf,
  type RuledModel,
  type SizeRule,
  type SplitModel,
  type VirtualModel,
  type VirtualModels,
  virtualText,
} from './virtual-model.ts'
