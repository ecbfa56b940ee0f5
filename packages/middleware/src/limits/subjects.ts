import { isRefusal, memoByTwo, type Refusal } from '../pipeline/index.ts'
import {
  type Group,
  type Limit,
  limitsOfKey,
  type Measure,
  type Narrowing,
  type Plan,
  type Policy,
} from '../policy/index.ts'
import type { Claim, Subject } from './leases/decision.ts'

/** A limit, and whose it is. */
export interface Held {
  readonly subject: Subject
  readonly limit: Limit
}

/** What the middleware before must have settled of a request whose limits are to hold. */
export interface Limited {
  readonly policy: Pick<Policy, 'global'> & {
    readonly plans: ReadonlyMap<string, Pick<Plan, 'name' | 'limits' | 'shared'>>
    readonly groups?: readonly Pick<Group, 'name' | 'limits'>[]
  }
  readonly consumer: {
    readonly id: string
    readonly plan: string
    /** Its value in each group that it is in. */
    readonly groups?: Readonly<Record<string, string>> | undefined
    /** What its key narrows, and what the key's own budget is counted by. */
    readonly grant?: (Narrowing & { readonly key: string }) | undefined
  }
}

/**
 * Whose limits hold for a consumer's request: its key's, its own, those of its plan's consumers and of its groups together, and everybody's. Those
 * without a limit are left out. 403 (`plan_unavailable`) where the policy doesn't have the plan.
 *
 * The same policy and consumer, as objects, have the same subjects, as an object: a request asks for them up to three times.
 */
export const subjectsOf: (policy: Limited['policy'], consumer: Limited['consumer']) => readonly Subject[] | Refusal =
  memoByTwo(resolve)

function resolve(
  { plans, groups = [], global }: Limited['policy'],
  consumer: Limited['consumer'],
): readonly Subject[] | Refusal {
  const plan = plans.get(consumer.plan)
  if (plan === undefined) return missingPlan(consumer.plan)
  const subjects: Subject[] = []
  const { grant } = consumer
  if (grant?.budget !== undefined) subjects.push({ id: `key:${grant.key}`, limits: limitsOfKey(grant) })
  if (plan.limits.length > 0) subjects.push({ id: `consumer:${consumer.id}`, limits: plan.limits })
  if (plan.shared.length > 0) subjects.push({ id: `plan:${plan.name}`, limits: plan.shared })
  for (const { name, limits } of groups) {
    const value = valueIn(consumer.groups, name)
    if (value !== undefined && limits.length > 0) subjects.push({ id: groupSubject(name, value), limits })
  }
  if (global.length > 0) subjects.push({ id: 'global', limits: global })
  return subjects
}

function valueIn(groups: Limited['consumer']['groups'], name: string): string | undefined {
  return groups !== undefined && Object.hasOwn(groups, name) ? groups[name] : undefined
}

/** All callers of one value of a group, by the name of their counters. A group's name has no colon. */
export function groupSubject(name: string, value: string): string {
  return `group:${name}:${encodeURIComponent(value)}`
}

function missingPlan(plan: string): Refusal {
  const message = `This consumer's plan '${plan}' is not in the policy. The operator must add it or move the consumer.`
  return { kind: 'refusal', code: 'plan_unavailable', status: 403, message }
}

const OF_REQUESTS: ReadonlySet<Measure> = new Set(['requests', 'concurrency'])

/**
 * One of each limit on requests and concurrency.
 *
 * @param model those on this model's requests; `undefined` for those on all
 */
export function requestClaims(subjects: readonly Subject[], model?: string): Claim[] {
  return select(subjects, (limit) => OF_REQUESTS.has(limit.measure) && limit.model === model).map(
    ({ subject, limit }) => ({ subject, limit, units: 1 }),
  )
}

/** The limits on tokens and money that hold for a request to this model. */
export function usageLimits(subjects: readonly Subject[], model: string): Held[] {
  return select(
    subjects,
    (limit) => !OF_REQUESTS.has(limit.measure) && (limit.model === undefined || limit.model === model),
  )
}

/** Whether a limit on money holds for a consumer's requests to this model: one without a price is refused then. */
export function countsMoney(policy: Limited['policy'], consumer: Limited['consumer'], model: string): boolean {
  const subjects = subjectsOf(policy, consumer)
  return !isRefusal(subjects) && usageLimits(subjects, model).some(({ limit }) => limit.measure === 'money')
}

function select(subjects: readonly Subject[], holds: (limit: Limit) => boolean): Held[] {
  const held: Held[] = []
  for (const subject of subjects) {
    for (const limit of subject.limits) if (holds(limit)) held.push({ subject, limit })
  }
  return held
}
