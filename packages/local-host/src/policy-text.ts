import { listText, moneyText, type outlinePolicy, POLICY_FILE, servedText } from '@tollgate/middleware'

/** What a person is told of the policy in force: where it is from, its plans, whether anything limits money, where requests go. */
export function policyText(outline: ReturnType<typeof outlinePolicy>): string {
  const { source, plans } = outline
  const from =
    source.file === undefined ? `the defaults: there is no ${POLICY_FILE}` : `${source.file} (${source.digest})`
  const names = [...plans.keys()]
  const served = servedText(outline)
  return `${from}; ${names.length === 1 ? 'plan' : 'plans'} ${listText(names)}; ${moneyText(outline)}${served === undefined ? '' : `; ${served}`}`
}
