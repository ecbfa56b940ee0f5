import {
  type ConsumerStore,
  type Limit,
  type PolicyOutline,
  resetLimits,
  showLimits,
  type ToldLimit,
  tableConsumerStore,
} from '@tollgate/middleware'
import { columns } from './columns.ts'
import { CommandFault } from './command-fault.ts'
import { withCounters } from './counters.ts'
import { count, duration, exactDollars, utc } from './figures.ts'
import { checkConsumerId } from './keys.ts'
import { managing, policyHere } from './managing.ts'
import type { Place } from './place.ts'
import { checkPlan } from './plan-option.ts'
import { onOneLine } from './printable.ts'
import { withTables } from './tables.ts'

/** Whose limits are meant: one of these is to be given. */
interface WhoseLimits {
  readonly consumer?: string
  readonly plan?: string
  readonly global?: boolean
}

export interface LimitsResetOptions extends WhoseLimits {
  /** A limit's name, as refusals and headers say it. */
  readonly limit?: string
}

export interface LimitsShowOptions extends WhoseLimits {
  /** A key's id. */
  readonly key?: string
  /** A group and its value, such as `cost-centre=4711`. */
  readonly group?: string
  readonly json?: boolean
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
  const policy = await policyHere(place)
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  return await withTables(place, 'Limits', async (open) => {
    const subject = await subjectOf(options, policy, tableConsumerStore(open))
    if (subject.limits.length === 0) throw new CommandFault(subject.noLimits)
    const limit = options.limit === undefined ? undefined : limitOf(subject, options.limit)
    await withCounters(place, open, (store) => resetLimits({ store, subject: subject.id, limit, signal }))
    const what = limit === undefined ? `All limits of ${subject.text}` : `Limit '${limit.name}' of ${subject.text}`
    return `Reset: ${what}. Every instance goes by it within 10 seconds.`
  })
}

/** Where limits stand: all that hold for a consumer or a key, or those that a plan's consumers, or everybody, share. */
export async function showLimitsOf({ json, ...whose }: LimitsShowOptions, place: Place): Promise<string> {
  const given = Object.keys(whose)
  if (given.length === 0)
    throw new CommandFault('Say whose limits to show: --consumer, --key, --plan, --group or --global.')
  if (given.length > 1) {
    throw new CommandFault(`${given.map((option) => `--${option}`).join(' and ')} exclude each other.`)
  }
  const { global, ...others } = whose
  const asked = { ...others, ...(global && { global: true }) }
  const { output, storage } = await managing(showLimits, asked, place)
  if (json) return JSON.stringify(output)
  const { at, limits } = output
  if (limits.length === 0) return `The policy has no such limits.\n\nStorage: ${storage}`
  return [limitTable(limits), ...notes(limits), `As of ${utc(Date.parse(at))}.`, `Storage: ${storage}`].join('\n\n')
}

function limitTable(limits: readonly ToldLimit[]): string {
  return columns([
    ['WHOSE', 'LIMIT', 'SIZE', 'USED', 'HELD', 'LEFT', 'THEN'],
    ...limits.map((limit) => [
      onOneLine(limit.subject),
      onOneLine(limit.limit),
      sizeText(limit),
      ...[limit.used, limit.held, limit.left].map((units) => unitsText(limit, units)),
      thenText(limit),
    ]),
  ])
}

function sizeText({ of, most, window, ...limit }: ToldLimit): string {
  const size = unitsText(limit, of)
  if (window === null) return `${size} at once`
  if (window.kind === 'calendar') return `${size} a ${window.per}`
  const atOnce = most === of ? '' : `, ${unitsText(limit, most)} at once`
  return `${size} in ${duration(window.seconds * 1_000)}${atOnce}`
}

function unitsText({ counts }: Pick<ToldLimit, 'counts'>, units: number | null): string {
  if (units === null) return '?'
  return counts === 'nanoUsd' ? exactDollars(units) : count(units)
}

/** A budget begins anew at a moment that anybody can foretell; of a bucket a person wants to know how long it takes. */
function thenText({ window, state, resetsAt, resetsInSeconds }: ToldLimit): string {
  if (state !== 'counted' && state !== 'uncounted') return state
  if (resetsAt === null || resetsInSeconds === null) return window === null ? '' : 'full'
  if (window?.kind === 'calendar') return `anew at ${utc(Date.parse(resetsAt))}`
  return `full again in ${duration(resetsInSeconds * 1_000)}`
}

const STATES: Readonly<Record<ToldLimit['state'], string | undefined>> = {
  counted: undefined,
  uncounted: undefined,
  missing:
    'missing: the counters have no row, and the ledger shows that requests took of it in this window. The row was removed, and ' +
    'instances that have seen it make it anew; or the limit is younger than those requests.',
  unreadable:
    'unreadable: the row in tollgatecounters is damaged, and requests are refused with 503 until it is mended. To begin anew: delete the ' +
    'row, or restore it.',
  unavailable: 'unavailable: the store of the counters did not answer. See: npm run tollgate -- doctor',
}

function notes(limits: readonly ToldLimit[]): string[] {
  const states = new Set(limits.map(({ state }) => state))
  return [
    'USED is spent; HELD is with instances, leased, reserved or in flight, and what is not spent of it comes back; LEFT is free for all.',
    ...[...states].flatMap((state) => STATES[state] ?? []),
  ]
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
