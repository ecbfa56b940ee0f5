export { epochAt } from './accounts/budget.ts'
export { type BudgetOptions, budget, noBudget, type Reserved } from './budget.ts'
export { type Charged, type ChargedOptions, chargedTo } from './charged.ts'
export {
  type Admission,
  type Claim,
  type Decision,
  type Denial,
  LimiterUnavailable,
  type LimitStatus,
  type Subject,
} from './leases/decision.ts'
export type { Lease } from './leases/lease.ts'
export { type Limiter, type LimiterOptions, limiter } from './leases/limiter.ts'
export type { RowLoss } from './leases/row-loss.ts'
export type { LimiterEvents } from './leases/runtime.ts'
export {
  type LocalLimiter,
  type LocalLimiterOptions,
  type LocalReservation,
  localLimiter,
  type NoLocalRoom,
} from './local-limiter.ts'
export {
  type Admits,
  type Admitted,
  callLimits,
  type LimitOptions,
  type ModelAdmitted,
  modelLimits,
  noLimits,
  noModelLimits,
  requestLimits,
} from './request-limits.ts'
export { type Metered, type Reservation, reservationFor } from './reservation.ts'
export { type ResetOptions, resetLimits } from './reset-limits.ts'
export { type LimitStanding, type StandingsOptions, type SubjectStandings, standingsOf } from './standings.ts'
export {
  type CounterRead,
  type CounterStore,
  type CounterWrite,
  SHADOW_LIFE_MS,
  SHADOW_SUBJECTS,
  type StoreTime,
} from './stores/counter-store.ts'
export { memoryCounterStore } from './stores/memory.ts'
export { redisCounterStore } from './stores/redis.ts'
export { type TableCounterStore, tableCounterStore } from './stores/table.ts'
export { countsMoney, groupSubject, type Limited, requestClaims, subjectsOf } from './subjects.ts'
