import {
  digestOf,
  type InForce,
  type Log,
  listText,
  livePolicy,
  moneyLimits,
  moneyText,
  POLICY_FILE,
  type PolicySource,
  policyRevisions,
  type Revision,
  revisionText,
  servedText,
  shortDigest,
  type Table,
} from '@tollgate/middleware'
import { consoleLog } from './console-log.ts'
import { tellStrandedConsumers } from './consumer-plans.ts'
import type { Settings } from './settings.ts'

/** The policy by these settings: as the table of its revisions has it, and the app's file where that is new. */
export function policyOf(settings: Settings, log: Log = consoleLog): (policies: Table) => PolicySource {
  const { policyFile: file, policyName: name, policyFault, policy, resolvePolicy, storeDeadlineMs } = settings
  // `npm start`: a person edits the file, and what was saved last is meant.
  const isEdited = process.env.AZURE_FUNCTIONS_ENVIRONMENT === 'Development'
  return (table) =>
    livePolicy({
      revisions: policyRevisions({ table, name }),
      start: { file, policy: policyFault ?? policy },
      resolve: resolvePolicy,
      appliesSaved: isEdited,
      ...(isEdited ? { reread: settings.rereadPolicy } : {}),
      deadlineMs: storeDeadlineMs,
      log,
      told: tellingPolicy(settings, log),
    })
}

/** A line is read by people: of more plans, the first ones and how many more there are. */
const MOST_PLANS = 20

/**
 * Says which policy is in force, its plans, whether anything limits money, and where requests go: the app's first line, and one for each
 * change. It is a warning where the operator may have meant something else: there is no document, another policy is in force than the
 * file says, or models and settings that nothing uses.
 */
function tellingPolicy(settings: Settings, log: Log): (now: InForce) => void {
  const { policySource, hints } = settings
  let isFirst = true
  return ({ policy, revision, shadow, fileBefore }) => {
    const { unlimitedPlans, refusedModels } = moneyLimits(policy)
    const isFile = isOfFile(revision, settings)
    const isOther = isFirst && policySource.file !== undefined && !isFile
    const isDoubtful =
      isOther || hints.length > 0 || refusedModels.length > 0 || (revision === undefined && unlimitedPlans.length > 0)
    const plans = [...policy.plans.keys()]
    const served = servedText(policy)
    const digest = revision && shortDigest(revision)
    const source =
      revision === undefined
        ? `the defaults, since there is no ${POLICY_FILE}`
        : isFile
          ? `${policySource.file} (${digest})`
          : `${revisionText(revision)} (${digest}), applied ${new Date(revision.at).toISOString()} by ${revision.by}`
    const other = isOther ? `, and not the app's file. ${fileText(settings, fileBefore)}` : '.'
    const judged = shadow === undefined ? '' : ` ${shadowText(shadow)}`
    log(isDoubtful ? 'warn' : 'info', 'policy in force', {
      policy: revision === undefined ? 'defaults' : isFile ? policySource.file : revisionText(revision),
      ...(digest === undefined ? {} : { digest }),
      ...(revision === undefined || isFile ? {} : { number: revision.number }),
      ...(shadow === undefined ? {} : { shadow: shadow.number }),
      revision: policy.revision,
      plans: plans.slice(0, MOST_PLANS),
      message: `The policy is ${source}${other} It has ${plans.length === 1 ? 'the plan' : 'the plans'} ${listText(plans)}; ${moneyText(policy)}.${served === undefined ? '' : ` Requests: ${served}.`}${judged}`,
      ...(hints.length === 0 ? {} : { hints }),
    })
    // `npm start` tells it by itself.
    if (isFirst && process.env.AZURE_FUNCTIONS_ENVIRONMENT !== 'Development')
      tellStrandedConsumers(settings, policy, log)
    isFirst = false
  }
}

function isOfFile(revision: Revision | undefined, { policyFile }: Settings): boolean {
  return policyFile !== undefined && revision?.digest === digestOf(policyFile.text)
}

function fileText({ policySource: { file, digest }, policyFault }: Settings, before: Revision | undefined): string {
  const named = `${file} (${digest})`
  if (before !== undefined) {
    return `${named} was in force before, as ${revisionText(before)}: to bring it back, tollgate policy rollback ${before.number}.`
  }
  return policyFault === undefined ? `${named} is not applied.` : `${named} was refused.`
}

function shadowText(shadow: Revision): string {
  return `Beside it, ${revisionText(shadow)} is judged, and refuses nothing.`
}
