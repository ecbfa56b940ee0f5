import { type Log, listText, moneyLimits, moneyText, POLICY_FILE, servedText } from '@tollgate/middleware'
import { consoleLog } from './console-log.ts'
import { tellStrandedConsumers } from './consumer-plans.ts'
import type { Settings } from './settings.ts'

/** A line is read by people: of more plans, the first ones and how many more there are. */
const MOST_PLANS = 20

/**
 * Says which policy is in force, its plans, whether anything limits money, and where requests go: the app's first line. It is a warning where
 * the operator may have meant something else: there is no document, or models and settings that nothing uses.
 */
export function tellPolicy(settings: Settings, log: Log = consoleLog): Settings {
  const { policy, policySource, hints } = settings
  const { file, digest } = policySource
  const { unlimitedPlans, refusedModels } = moneyLimits(policy)
  const isDoubtful = hints.length > 0 || refusedModels.length > 0 || (file === undefined && unlimitedPlans.length > 0)
  const plans = [...policy.plans.keys()]
  const served = servedText(policy)
  const source = file === undefined ? `the defaults, since there is no ${POLICY_FILE}` : `${file} (${digest})`
  log(isDoubtful ? 'warn' : 'info', 'policy in force', {
    policy: file ?? 'defaults',
    ...(digest === undefined ? {} : { digest }),
    revision: policy.revision,
    plans: plans.slice(0, MOST_PLANS),
    message: `The policy is ${source}. It has ${plans.length === 1 ? 'the plan' : 'the plans'} ${listText(plans)}; ${moneyText(policy)}.${served === undefined ? '' : ` Requests: ${served}.`}`,
    ...(hints.length === 0 ? {} : { hints }),
  })
  // `npm start` tells it by itself.
  if (process.env.AZURE_FUNCTIONS_ENVIRONMENT !== 'Development') tellStrandedConsumers(settings)
  return settings
}
