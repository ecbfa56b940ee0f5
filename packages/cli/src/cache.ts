import { type PurgeSubject, ROUTES, tableConsumerStore, tableGenerationStore } from '@tollgate/middleware'
import { CommandFault } from './command-fault.ts'
import { checkConsumerId } from './keys.ts'
import { policyHere } from './managing.ts'
import type { Place } from './place.ts'
import { checkPlan } from './plan-option.ts'
import { withTables } from './tables.ts'

/** Exactly one of them is to be given. */
export interface CachePurgeOptions {
  readonly consumer?: string
  readonly plan?: string
  readonly route?: string
  readonly all?: boolean
}

interface Purge {
  readonly subject: PurgeSubject
  /** What a person is told of it. */
  readonly text: string
}

const TIMEOUT_MS = 30_000

/** Makes all completions of a subject unfindable. Where they are kept doesn't matter: what was purged is in the tables. */
export async function purgeCache(options: CachePurgeOptions, place: Place): Promise<string> {
  const { consumer } = options
  const { subject, text } = await purgeOf(options, place)
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  const isKnown = await withTables(place, 'Purges', async (open) => {
    const known =
      consumer === undefined || (await tableConsumerStore(open).findConsumer(consumer, signal)) !== undefined
    await tableGenerationStore(open).renew(subject, signal)
    return known
  })
  return [
    `Purged: ${text}. Every instance goes by it within 5 seconds.`,
    ...(isKnown ? [] : [`But there is no consumer '${consumer}': was another one meant? See: consumers list`]),
  ].join('\n')
}

/** @throws CommandFault that names the option. */
async function purgeOf({ consumer, plan, route, all }: CachePurgeOptions, place: Place): Promise<Purge> {
  const given = Object.entries({ consumer, plan, route, all }).filter(([, value]) => value !== undefined)
  if (given.length === 0) throw new CommandFault('Say what to purge: --consumer, --plan, --route or --all.')
  if (given.length > 1) {
    throw new CommandFault(`${given.map(([option]) => `--${option}`).join(' and ')} exclude each other.`)
  }
  if (consumer !== undefined) {
    checkConsumerId(consumer, '--consumer')
    return { subject: `consumer:${consumer}`, text: `what is stored for consumer '${consumer}' alone` }
  }
  if (plan !== undefined) {
    const { plans } = await policyHere(place)
    checkPlan(plan, plans)
    return { subject: `plan:${plan}`, text: `what the consumers of plan '${plan}' share` }
  }
  if (route !== undefined) {
    if (!ROUTES.includes(route)) {
      throw new CommandFault(`--route: there is no route '${route}'. There are: ${ROUTES.join(', ')}.`)
    }
    return { subject: `route:${route}`, text: `all completions of route '${route}'` }
  }
  return { subject: 'all', text: 'all completions' }
}
