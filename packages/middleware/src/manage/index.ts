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
export { perform } from './perform.ts'
