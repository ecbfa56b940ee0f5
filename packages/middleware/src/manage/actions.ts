import type { ManageAction } from './action.ts'
import { listAudit } from './audit.ts'
import { forgetUsage, listConsumers, setConsumer, showConsumer } from './consumers.ts'
import {
  createKey,
  disableKey,
  enableKey,
  expireKey,
  findKeys,
  listKeys,
  revokeKey,
  rotateKey,
  showKey,
} from './keys.ts'
import { showLimits } from './limits.ts'
import {
  applyPolicy,
  diffPolicy,
  endPolicyShadow,
  listPolicyRevisions,
  rollbackPolicy,
  showPolicy,
  validatePolicy,
} from './policy.ts'
import { purgeCache } from './purge.ts'
import { beginLimitsAnew } from './reset-limits.ts'
import { listTargets } from './targets.ts'

/** All that an operator can do. */
export const ACTIONS: readonly ManageAction[] = [
  listConsumers,
  showConsumer,
  setConsumer,
  forgetUsage,
  listKeys,
  showKey,
  findKeys,
  createKey,
  rotateKey,
  expireKey,
  disableKey,
  enableKey,
  revokeKey,
  purgeCache,
  showLimits,
  beginLimitsAnew,
  showPolicy,
  listPolicyRevisions,
  validatePolicy,
  diffPolicy,
  applyPolicy,
  rollbackPolicy,
  endPolicyShadow,
  listTargets,
  listAudit,
]
