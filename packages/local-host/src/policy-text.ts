import { listText, moneyText, type outlinePolicy, POLICY_FILE } from '@tollgate/middleware'

/** What a person is told of the policy in force: where it is from, its plans, and whether anything limits money. */
export function policyText(outline: ReturnType<typeof outlinePolicy>): string {
  const { source, plans } = outline
  const from =
    source.file === undefined ? `the defaults: there is no ${POLICY_FILE}` : `${source.file} (${source.digest})`
  const names = [...plans.keys()]
  return `${from}; ${names.length === 1 ? 'plan' : 'plans'} ${listText(names)}; ${moneyText(outline)}`
}
