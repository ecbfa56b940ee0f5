export { type Check, type OnFailure, type Readiness, type ReadinessOptions, readiness } from './readiness.ts'
