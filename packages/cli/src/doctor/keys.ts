import { type ConsumerStore, type PolicyOutline, surveyPlans, surveyText } from '@tollgate/middleware'
import { fault, ok, type Seen, warn } from './finding.ts'

/* Who can get in. */

export async function keysSeen(
  consumers: Pick<ConsumerStore, 'listKeys' | 'listConsumers'>,
  plans: PolicyOutline['plans'] | undefined,
  now: number,
  signal: AbortSignal,
): Promise<readonly Seen[]> {
  let all = 0
  const active = { call: 0, read: 0, admin: 0 }
  for await (const { disabled, expiresAt, scopes } of consumers.listKeys({}, signal)) {
    all += 1
    if (disabled || (expiresAt !== undefined && expiresAt <= now)) continue
    for (const scope of Object.keys(active) as (keyof typeof active)[]) if (scopes.includes(scope)) active[scope] += 1
  }
  const saw = `${all} keys; of those that work ${active.call} may ask models, ${active.read} read usage, ${active.admin} manage`
  const make = 'npm run tollgate -- keys create --consumer'
  const seen: Seen[] = [active.call > 0 ? ok(saw) : fault(`no key can ask a model (${saw})`, `${make} alice`)]
  if (active.admin === 0) {
    seen.push(warn('no key of scope admin: nothing can be managed over HTTP', `${make} operator --scope admin`))
  }
  if (plans === undefined) return seen
  const survey = await surveyPlans(consumers, plans, signal)
  if (survey.strandedCount === 0) return seen
  const [text = ''] = surveyText(survey)
  const [first] = survey.stranded
  return [...seen, fault(text, `npm run tollgate -- consumers set ${first?.id} --plan <plan>`)]
}
