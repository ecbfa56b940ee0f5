import {
  type DocumentSource,
  listText,
  moneyText,
  POLICY_FILE,
  type PolicyOutline,
  servedText,
} from '@tollgate/middleware'

/** What a person is told of the policy in force: where it is from, its plans, whether anything limits money, where requests go. */
export function policyText(outline: PolicyOutline & { readonly source: DocumentSource }): string {
  const { source, plans } = outline
  const from =
    source.file === undefined ? `the defaults: there is no ${POLICY_FILE}` : `${source.file} (${source.digest})`
  const names = [...plans.keys()]
  const served = servedText(outline)
  return `${from}; ${names.length === 1 ? 'plan' : 'plans'} ${listText(names)}; ${moneyText(outline)}${served === undefined ? '' : `; ${served}`}`
}
