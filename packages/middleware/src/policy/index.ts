export { type LoadOptions, loadPolicy, outlinePolicy, POLICY_FILE, type PolicyLocation } from './load.ts'
export {
  type CacheRule,
  type Plan,
  type Policy,
  PolicyError,
  type RequestLimit,
  type RoutePolicy,
  type TargetSettings,
} from './policy.ts'
export { CLOCK_LAG_MS } from './request-limit.ts'
export { type PolicyOutline, type ResolveOptions, resolvePolicy } from './resolve.ts'
export { policyJsonSchema } from './schema.ts'
export { isAzureAiHost, isLoopback, type PolicyBounds } from './target.ts'
