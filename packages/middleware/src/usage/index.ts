export {
  type ConsumerDay,
  type Histogram,
  LATENCY_BOUNDS_MS,
  type ModelFigures,
  type ShadowReport,
  type ShadowSums,
  type Unattributed,
  type UsageAttempt,
  type UsageDimension,
  type UsageQuery,
  type UsageReader,
  type UsageReport,
  type UsageRow,
  type UsageSums,
  UsageUnreadable,
} from './figures.ts'
export { type ForgetOptions, type Forgotten, forgetConsumer } from './forget.ts'
export { FLUSH_MS, type Ledger, type LedgerOptions, ledger } from './ledger.ts'
export {
  type Exposition,
  METRICS_TYPE,
  type MetricNames,
  metricsText,
  OPEN_METRICS_TYPE,
  type UsageTotals,
} from './prometheus.ts'
export { isUsageFault, USAGE_DIMENSIONS, type UsageAsked, type UsageFault, usageQuery, whyQuery } from './query.ts'
export { AGE_MS, type UsageReaderOptions, usageReader } from './reader.ts'
export { type RetentionOptions, removeOld } from './retention.ts'
export { type RollUpOptions, rollUp } from './rollup.ts'
export { totalOf } from './sums.ts'
export { type Counted, takenSince } from './taken.ts'
export { FORGOTTEN } from './tally.ts'
export type { InstanceTarget } from './told-targets.ts'
export { reportCsv, shadowCsv } from './usage-csv.ts'
export { reportJson, rowJson, shadowJson, sumsJson, unattributedJson } from './usage-json.ts'
