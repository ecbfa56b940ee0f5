import type { ManageAction } from './action.ts'
import { listAudit } from './audit.ts'
import { forgetUsage, listConsumers, setConsumer, showConsumer } from './consumers.ts'
import { purgeCache } from './purge.ts'
import { beginLimitsAnew } from './reset-limits.ts'
import { listTargets } from './targets.ts'

/** All that an operator can do. */
export const ACTIONS: readonly ManageAction[] = [
  listConsumers,
  showConsumer,
  setConsumer,
  forgetUsage,
  purgeCache,
  beginLimitsAnew,
  listTargets,
  listAudit,
]
