export {
  type ManageAction,
  type Managed,
  type ManagedPolicy,
  type ManageInput,
  type ManageOutput,
  manageAction,
} from './action.ts'
export { listConsumers } from './consumers.ts'
export { ManageFault } from './fault.ts'
export { perform } from './perform.ts'
export {
  applyPolicy,
  diffPolicy,
  endPolicyShadow,
  listPolicyRevisions,
  rollbackPolicy,
  showPolicy,
  validatePolicy,
} from './policy.ts'
