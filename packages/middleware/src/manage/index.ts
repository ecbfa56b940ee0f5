export {
  fromQuery,
  type ManageAction,
  type Managed,
  type ManagedPolicy,
  type ManagedTarget,
  type ManageInput,
  type ManageOutput,
  manageAction,
  REFUSED_STATUSES,
  type RefusedStatus,
} from './action.ts'
export { ACTIONS } from './actions.ts'
export { AUDIT_LIFE_MS, listAudit, sweepAudit } from './audit.ts'
export { forgetUsage, listConsumers, setConsumer, showConsumer } from './consumers.ts'
export { ManageFault } from './fault.ts'
export {
  createKey,
  disableKey,
  enableKey,
  expireKey,
  findKeys,
  listKeys,
  revokeKey,
  rotateKey,
  type ShownKey,
  showKey,
  showKeyRecord,
} from './keys.ts'
export { showLimits, type TellingLimits, type ToldLimit, tellLimits, toldLimit } from './limits.ts'
export { missingPlanText } from './names.ts'
export { checkInput, perform } from './perform.ts'
export {
  applyPolicy,
  diffPolicy,
  endPolicyShadow,
  listPolicyRevisions,
  rollbackPolicy,
  showPolicy,
  validatePolicy,
} from './policy.ts'
export { purgeCache } from './purge.ts'
export { beginLimitsAnew } from './reset-limits.ts'
export { listTargets } from './targets.ts'
