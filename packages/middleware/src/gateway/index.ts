export { type AnsweredCall, costOfAnswer } from './cost-of-answer.ts'
export {
  CHECK_MS,
  createGateway,
  type Gateway,
  type GatewayOptions,
  type Reading,
  tellingEnds,
} from './create-gateway.ts'
export { azureDialect, type Dialect, dialectEntry, openaiDialect } from './dialect.ts'
export { manageEntry } from './manage-entry.ts'
export { type Me, type MeOptions, me, meSchema, type SelfAsking } from './me.ts'
export { type MetricsPageOptions, metricsPage } from './metrics-page.ts'
export { type OpenApiOptions, openApiEntry } from './open-api.ts'
export { type OpenUsageOptions, openUsage } from './open-usage.ts'
export { readEntry } from './read-entry.ts'
export { type UsageApiOptions, usageApi } from './usage-api.ts'
