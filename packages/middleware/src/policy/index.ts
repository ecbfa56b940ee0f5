export { closestName, listText } from './closest-name.ts'
export {
  type BudgetLimit,
  type ConcurrencyLimit,
  type Epoch,
  type Limit,
  largestClaim,
  type Measure,
  type RateLimit,
} from './limit.ts'
export {
  type LoadedPolicy,
  type LoadOptions,
  loadPolicy,
  outlinePolicy,
  POLICY_FILE,
  type PolicyLocation,
  type PolicySource,
  readPolicy,
} from './load.ts'
export { type AzureUrl, azureUrl, isAzureForm, isDated, ModelUrlFault, meansV1, openaiUrl } from './model-url.ts'
export { type MoneyLimits, moneyLimits, moneyText } from './money.ts'
export {
  type CacheRule,
  type Model,
  type Plan,
  type Policy,
  PolicyError,
  type Price,
  type RoutePolicy,
  type TargetSettings,
  type TransformRule,
} from './policy.ts'
export { strayPolicy } from './policy-file-name.ts'
export { type PolicyOutline, type ResolveOptions, resolvePolicy } from './resolve.ts'
export { policyJsonSchema } from './schema.ts'
export { isAzureAiHost, isLoopback, type PolicyBounds } from './target.ts'
