import * as z from 'zod'
import { familyOf, isTokenConsumer } from '../auth/index.ts'
import { groupSubject, resetLimits } from '../limits/index.ts'
import { isGroupValue, type Limit, limitsOfKey, listText } from '../policy/index.ts'
import { type Managed, manageAction } from './action.ts'
import { ManageFault } from './fault.ts'
import { callerId, checkPlan, exactlyOne, invalid, keyId, knownKey, offPolicy, policyName } from './names.ts'

/** Whose limits begin anew. */
interface Subject {
  readonly id: string
  readonly limits: readonly Limit[]
  /** What a person is told of them. */
  readonly text: string
  /** What a person is told where there are none. */
  readonly noLimits: string
}

export const beginLimitsAnew = manageAction({
  id: 'resetLimits',
  summary:
    'Lets limits begin anew, of one subject: `consumer`, `key`, `plan`, `group` or `global`. Buckets are full, quotas and budgets unspent; what is in flight is not ended. Instances go by it within 10 seconds.',
  method: 'POST',
  path: '/limits/reset',
  refuses: [404, 422],
  input: exactlyOne(
    z.strictObject({
      consumer: callerId.optional().describe("This consumer's own limits."),
      key: keyId
        .optional()
        .describe('What this key may spend by itself, with those that took its place or whose place it took.'),
      plan: policyName.optional().describe('Those that the consumers of this plan share.'),
      group: z
        .string()
        .max(200)
        .optional()
        .describe('Those that the callers of one value of a group share, as `cost-centre=4711`.'),
      global: z.literal(true).optional().describe("Everybody's."),
      limit: z
        .string()
        .min(1)
        .max(200)
        .optional()
        .describe('Of them this one alone, by its name in refusals, such as usd.'),
    }),
    ['consumer', 'key', 'plan', 'group', 'global'],
    'Say whose limits to reset',
  ),
  output: z.strictObject({
    subject: z.string().describe('`consumer:…`, `key:…`, `plan:…`, `group:…` or `global`.'),
    limits: z.array(z.string()).describe('The names of those that begin anew.'),
    what: z.string().describe('The same in words.'),
  }),
  async run({ limit: name, ...meant }, managed) {
    const { counters: store, signal } = managed
    const subject = await subjectOf(meant, managed)
    if (subject.limits.length === 0) throw invalid(undefined, subject.noLimits, 422)
    const limit = name === undefined ? undefined : limitOf(subject, name)
    await resetLimits({ store, subject: subject.id, limit, signal })
    const what = limit === undefined ? `All limits of ${subject.text}` : `Limit '${limit.name}' of ${subject.text}`
    return {
      subject: subject.id,
      limits: (limit === undefined ? subject.limits : [limit]).map((each) => each.name),
      what,
    }
  },
})

type Meant = Omit<z.output<(typeof beginLimitsAnew)['input']>, 'limit'>

/** @throws ManageFault where there is no such consumer, key or plan. */
async function subjectOf({ consumer, key, plan, group }: Meant, managed: Managed): Promise<Subject> {
  const { consumers, policy, signal } = managed
  if (group !== undefined) return groupOf(group, managed)
  if (consumer !== undefined && isTokenConsumer(consumer)) {
    // Its plan is told by its next token: the limits of each that it could be.
    const own = new Map([...policy.plans.values()].flatMap(({ limits }) => limits.map((limit) => [limit.key, limit])))
    const noLimits = 'No plan of the policy has limits of each consumer alone.'
    return { id: `consumer:${consumer}`, limits: [...own.values()], text: `consumer '${consumer}'`, noLimits }
  }
  if (consumer !== undefined) {
    const known = await consumers.findConsumer(consumer, signal)
    if (known === undefined) {
      const message = `There is no consumer '${consumer}'. See: consumers list`
      throw new ManageFault(message, { code: 'not_found', status: 404 })
    }
    const limits = policy.plans.get(known.plan)?.limits
    if (limits !== undefined) {
      const noLimits = `The policy's plan '${known.plan}', which consumer '${consumer}' is on, has no limits.`
      return { id: `consumer:${consumer}`, limits, text: `consumer '${consumer}'`, noLimits }
    }
    throw offPolicy(known)
  }
  if (key !== undefined) {
    const record = await knownKey(key, managed)
    const noLimits = `Key ${key} has no budget of its own. Its consumer's limits are reset by \`consumer\`.`
    return { id: `key:${familyOf(record)}`, limits: limitsOfKey(record.grant ?? {}), text: `key ${key}`, noLimits }
  }
  if (plan !== undefined) {
    checkPlan(plan, managed)
    const noLimits = `Consumers of plan '${plan}' share no limits (plans.${plan}.shared). Their own are reset by \`consumer\`.`
    const limits = policy.plans.get(plan)?.shared ?? []
    return { id: `plan:${plan}`, limits, text: `plan '${plan}' as a whole`, noLimits }
  }
  return {
    id: 'global',
    limits: policy.global,
    text: 'everybody together',
    noLimits: 'The policy has no global limits.',
  }
}

/** @throws ManageFault for what is no group of the policy, or no value. */
function groupOf(text: string, { policy }: Managed): Subject {
  const [, name = '', value = ''] = /^([^=]*)=(.*)$/s.exec(text) ?? []
  const group = policy.groups?.find((each) => each.name === name)
  if (group === undefined || !isGroupValue(value)) {
    const known = listText((policy.groups ?? []).map((each) => each.name))
    throw invalid(
      'group',
      `'group': a group of the policy and a value, such as cost-centre=4711. It has: ${known}.`,
      422,
    )
  }
  const noLimits = `The policy's group '${name}' has no limits.`
  return { id: groupSubject(name, value), limits: group.limits, text: `'${value}' of group '${name}'`, noLimits }
}

/** @throws ManageFault that lists the names that there are. */
function limitOf({ limits, text }: Subject, name: string): Limit {
  const found = limits.find((limit) => limit.name === name)
  if (found !== undefined) return found
  const names = limits.map((limit) => limit.name).join(', ')
  throw invalid('limit', `'limit': ${text} has no limit '${name}' in the policy. It has: ${names}.`, 422)
}
