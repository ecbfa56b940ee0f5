export {
  type Histogram,
  LATENCY_BOUNDS_MS,
  type ModelFigures,
  type Unattributed,
  type UsageAttempt,
  type UsageDimension,
  type UsageQuery,
  type UsageReader,
  type UsageReport,
  type UsageRow,
  type UsageSums,
} from './figures.ts'
