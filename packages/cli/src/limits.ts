import {
  type ConsumerStore,
  type Limit,
  type PolicyOutline,
  resetLimits,
  tableConsumerStore,
} from '@tollgate/middleware'
import { CommandFault } from './command-fault.ts'
import { withCounters } from './counters.ts'
import { checkConsumerId } from './keys.ts'
import { policyInForce } from './managing.ts'
import type { Place } from './place.ts'
import { checkPlan } from './plan-option.ts'
import { withTables } from './tables.ts'

/** One of the first three is to be given. */
export interface LimitsResetOptions {
  readonly consumer?: string
  readonly plan?: string
  readonly global?: boolean
  /** A limit's name, as refusals and headers say it. */
  readonly limit?: string
}

/** Whose limits begin anew. */
interface Subject {
  readonly id: string
  readonly limits: readonly Limit[]
  /** What a person is told of them. */
  readonly text: string
  /** What a person is told where there are none. */
  readonly noLimits: string
}

const TIMEOUT_MS = 30_000

/** Lets the limits of a subject, or one of them, begin anew. */
export async function resetLimitsOf(options: LimitsResetOptions, place: Place): Promise<string> {
  checkOptions(options)
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  return await withTables(place, 'Limits', async (open) => {
    const policy = await policyInForce(place, open)
    const subject = await subjectOf(options, policy, tableConsumerStore(open))
    if (subject.limits.length === 0) throw new CommandFault(subject.noLimits)
    const limit = options.limit === undefined ? undefined : limitOf(subject, options.limit)
    await withCounters(place, open, (store) => resetLimits({ store, subject: subject.id, limit, signal }))
    const what = limit === undefined ? `All limits of ${subject.text}` : `Limit '${limit.name}' of ${subject.text}`
    return `Reset: ${what}. Every instance goes by it within 10 seconds.`
  })
}

/** @throws CommandFault that names the option. */
function checkOptions({ consumer, plan, global }: LimitsResetOptions): void {
  const given = Object.entries({ consumer, plan, global }).filter(([, value]) => value !== undefined)
  if (given.length === 0) throw new CommandFault('Say whose limits to reset: --consumer, --plan or --global.')
  if (given.length > 1) {
    throw new CommandFault(`${given.map(([option]) => `--${option}`).join(' and ')} exclude each other.`)
  }
  if (consumer !== undefined) checkConsumerId(consumer, '--consumer')
}

/** @throws CommandFault where there is no such consumer or plan, or it has no limits. */
async function subjectOf(
  { consumer, plan }: LimitsResetOptions,
  { plans, global }: PolicyOutline,
  consumers: ConsumerStore,
): Promise<Subject> {
  if (consumer !== undefined) {
    const known = await consumers.findConsumer(consumer)
    if (known === undefined) throw new CommandFault(`There is no consumer '${consumer}'. See: consumers list`)
    const limits = plans.get(known.plan)?.limits
    if (limits !== undefined) {
      const noLimits = `The policy's plan '${known.plan}', which consumer '${consumer}' is on, has no limits.`
      return { id: `consumer:${consumer}`, limits, text: `consumer '${consumer}'`, noLimits }
    }
    throw new CommandFault(
      `Consumer '${consumer}' is on plan '${known.plan}', which the policy does not have. ` +
        `Move it: consumers set ${consumer} --plan <plan>`,
    )
  }
  if (plan !== undefined) {
    checkPlan(plan, plans)
    const noLimits = `Consumers of plan '${plan}' share no limits (plans.${plan}.shared). Their own are reset by --consumer.`
    return { id: `plan:${plan}`, limits: plans.get(plan)?.shared ?? [], text: `plan '${plan}' as a whole`, noLimits }
  }
  return { id: 'global', limits: global, text: 'everybody together', noLimits: 'The policy has no global limits.' }
}

/** @throws CommandFault that lists the names that there are. */
function limitOf({ limits, text }: Subject, name: string): Limit {
  const found = limits.find((limit) => limit.name === name)
  if (found !== undefined) return found
  const names = limits.map((limit) => limit.name).join(', ')
  throw new CommandFault(`--limit: ${text} has no limit '${name}' in the policy. It has: ${names}.`)
}
