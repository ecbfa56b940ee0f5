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
export { showLimits, type TellingLimits, type ToldLimit, tellLimits, toldLimit } from './limits.ts'
export { perform } from './perform.ts'
