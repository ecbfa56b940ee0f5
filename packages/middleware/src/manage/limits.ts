import * as z from 'zod'
import { callerOfKey } from '../auth/index.ts'
import {
  type CounterStore,
  epochAt,
  groupSubject,
  type Limited,
  type LimitStanding,
  type Subject,
  standingsOf,
  subjectsOf,
} from '../limits/index.ts'
import { describeFault, isOutage, isRefusal, type Log } from '../pipeline/index.ts'
import { type BudgetLimit, largestClaim } from '../policy/index.ts'
import type { Table } from '../storage/index.ts'
import { FORGOTTEN, takenSince } from '../usage/index.ts'
import { fromQuery, type Managed, manageAction } from './action.ts'
import {
  callerId,
  checkPlan,
  exactlyOne,
  invalid,
  keyId,
  knownKey,
  offPolicy,
  policyName,
  unknownConsumer,
} from './names.ts'

/* Where limits stand, as the counters' rows say it: for an operator, and for a caller of its own. */

const count = z.int().min(0)
const time = z.iso.datetime()

/** Times are of the store's clock, at most a second late. */
export const toldLimit = z
  .strictObject({
    subject: z
      .string()
      .describe(
        "Whose: 'consumer:alice', 'key:…' (one key's cap), 'group:…', 'plan:pro' (its consumers together), 'global' (everybody).",
      ),
    limit: z.string().describe('Its name, as RateLimit headers and refusals say it.'),
    counts: z.enum(['requests', 'tokens', 'input', 'output', 'nanoUsd', 'concurrency']),
    model: z.string().nullable().describe('Of this model alone; null for all.'),
    of: count.describe('The number that the policy states.'),
    most: count.describe('The most that it can have: more than that number where the policy allows a burst.'),
    window: z
      .discriminatedUnion('kind', [
        z.strictObject({
          kind: z.literal('bucket'),
          seconds: z.number().describe('In which `of` come back, steadily.'),
        }),
        z.strictObject({
          kind: z.literal('calendar'),
          per: z.enum(['minute', 'hour', 'day', 'month']),
          from: time,
          until: time,
        }),
      ])
      .nullable()
      .describe('null for what is in flight.'),
    state: z
      .enum(['counted', 'uncounted', 'missing', 'unreadable', 'unavailable'])
      .describe(
        'uncounted: there is no row, so nothing was counted. missing: nor is there one, though requests took of it in this window: it was ' +
          'removed, or the limit is younger than they are. unreadable: the row is damaged, and requests are refused. unavailable: the ' +
          'counters could not be read now.',
      ),
    used: count.nullable().describe('Spent. Of a bucket, what has not come back yet.'),
    held: count
      .nullable()
      .describe('Held by instances: leased, reserved or in flight. What of it is not spent comes back.'),
    left: count.nullable(),
    moreAt: time.nullable().describe('When more comes back; null where none is missing, or nobody can tell.'),
    moreInSeconds: count.nullable(),
    resetsAt: time
      .nullable()
      .describe("When all of it is back: a window's end, or when a bucket is full if nobody takes any."),
    resetsInSeconds: count.nullable(),
  })
  .meta({ id: 'limitStanding' })

export type ToldLimit = z.infer<typeof toldLimit>

export interface TellingLimits {
  readonly counters: Pick<CounterStore, 'read'>
  /** The ledger's. */
  readonly usage: Table
  /** Reads the ledger for all who ask within a moment; once for each by default. */
  readonly taken?: (from: number) => ReturnType<typeof takenSince>
  /** Milliseconds since 1970. */
  readonly wallClock: () => number
  readonly signal: AbortSignal
  readonly log: Log
}

/** All limits of a subject, in its order: one read, and where there is no row one of the ledger. Never throws for an outage. */
export async function tellLimits(subject: Subject, telling: TellingLimits): Promise<ToldLimit[]> {
  const { counters, wallClock, signal, log } = telling
  const unknown = (state: 'unreadable' | 'unavailable') =>
    subject.limits.map((limit) => told(subject, { limit }, state, wallClock()))
  try {
    const { limits, nonce, at } = await standingsOf({ store: counters, subject, signal })
    const state = nonce === undefined ? await stateWithoutRow(subject, limits, telling) : 'counted'
    return limits.map((standing) => told(subject, standing, state, at))
  } catch (error) {
    if ((error as Partial<Error>).name === 'RowUnreadable') return unknown('unreadable')
    if (!isOutage(error)) throw error
    log('error', 'limits not read', { subject: subject.id, ...describeFault(error) })
    return unknown('unavailable')
  }
}

/** Subjects whose requests the ledger can tell from others'. */
const IN_THE_LEDGER = /^(?:consumer:|plan:|global$)/

/** Only the ledger can say that a row which isn't there should be. */
async function stateWithoutRow(
  { id: subject }: Subject,
  limits: readonly LimitStanding[],
  { usage, wallClock, signal, taken: read = (from) => takenSince(usage, from, wallClock(), signal) }: TellingLimits,
): Promise<'uncounted' | 'missing'> {
  const budgets = limits.filter(isSpent)
  const [first] = budgets
  if (first === undefined || !IN_THE_LEDGER.test(subject)) return 'uncounted'
  const start = Math.min(...budgets.map(({ window }) => window.start))
  const longest = budgets.filter(({ window }) => window.start === start)
  const taken = await read(start)
  const wasTaken = ({ limit: { measure, model } }: (typeof longest)[number]) => {
    // What consumers took that were forgotten is told as everybody's.
    const nameless = subject.startsWith('consumer:') ? taken({ subject: `consumer:${FORGOTTEN}`, measure, model }) : 0
    return taken({ subject, measure, model }) > nameless
  }
  return longest.some(wasTaken) ? 'missing' : 'uncounted'
}

type SpentMeasure = Exclude<BudgetLimit['measure'], 'requests' | 'concurrency'>

function isSpent(standing: LimitStanding): standing is LimitStanding & {
  readonly limit: { readonly measure: SpentMeasure }
  readonly window: NonNullable<LimitStanding['window']>
} {
  const { limit, window } = standing
  return window !== undefined && limit.measure !== 'requests' && limit.measure !== 'concurrency'
}

function told(
  subject: Subject,
  { limit, used, held, left, moreAt, fullAt }: Pick<LimitStanding, 'limit'> & Partial<LimitStanding>,
  state: ToldLimit['state'],
  at: number,
): ToldLimit {
  const window = limit.kind === 'budget' ? epochAt(limit.per, at) : undefined
  const more = momentOf(moreAt, at)
  // A window ends also where nothing of it is spent yet.
  const reset = momentOf(window?.end ?? fullAt, at)
  return {
    subject: subject.id,
    limit: limit.name,
    counts: limit.measure === 'money' ? 'nanoUsd' : limit.measure,
    model: limit.model ?? null,
    of: limit.quota,
    most: largestClaim(limit),
    window:
      limit.kind === 'rate'
        ? { kind: 'bucket', seconds: limit.periodMs / 1_000 }
        : window !== undefined && limit.kind === 'budget'
          ? { kind: 'calendar', per: limit.per, from: isoTime(window.start), until: isoTime(window.end) }
          : null,
    state,
    used: used ?? null,
    held: held ?? null,
    left: left ?? null,
    moreAt: more.at,
    moreInSeconds: more.inSeconds,
    resetsAt: reset.at,
    resetsInSeconds: reset.inSeconds,
  }
}

function momentOf(moment: number | undefined, now: number) {
  if (moment === undefined || !Number.isFinite(moment)) return { at: null, inSeconds: null }
  return { at: isoTime(moment), inSeconds: Math.max(0, Math.ceil((moment - now) / 1_000)) }
}

function isoTime(at: number): string {
  return new Date(at).toISOString()
}

export const showLimits = manageAction({
  id: 'showLimits',
  summary:
    'Where limits stand: all that hold for a consumer or for one of its keys, those that the consumers of a plan or the callers of a group share, or the global ones.',
  method: 'GET',
  path: '/limits',
  refuses: [404, 422],
  input: exactlyOne(
    z.strictObject({
      consumer: callerId.optional().describe('All that hold for this consumer.'),
      key: keyId
        .optional()
        .describe("All that hold for this key's requests: its own cap, and those of its groups, too."),
      plan: policyName.optional().describe('Those that the consumers of this plan share.'),
      group: z
        .string()
        .max(300)
        .regex(/^[^=]+=./, 'must be a group and its value, such as cost-centre=4711')
        .optional()
        .describe('Those that all callers of this value of a group share: `cost-centre=4711`.'),
      global: fromQuery(z.literal(true)).optional().describe("Everybody's."),
    }),
    ['consumer', 'key', 'plan', 'group', 'global'],
    'Say whose limits to show',
  ),
  output: z.strictObject({ at: time, limits: z.array(toldLimit) }),
  async run(asked, managed) {
    const subjects = await subjectsAsked(asked, managed)
    const limits = await Promise.all(subjects.map((subject) => tellLimits(subject, managed)))
    return { at: isoTime(managed.wallClock()), limits: limits.flat() }
  },
})

type Asked = z.output<(typeof showLimits)['input']>

/** @throws ManageFault where there is no such consumer, key or plan */
async function subjectsAsked(
  { consumer, key, plan, group }: Asked,
  managed: Pick<Managed, 'consumers' | 'policy' | 'signal'>,
): Promise<readonly Subject[]> {
  const { consumers, policy, signal } = managed
  if (plan !== undefined) {
    checkPlan(plan, managed)
    return shared(policy, plan, `plan:${plan}`)
  }
  if (group !== undefined) return ofGroup(group, policy)
  if (consumer === undefined && key === undefined) return shared(policy, [...policy.plans.keys()][0] ?? '', 'global')
  const record = key === undefined ? undefined : await knownKey(key, managed)
  const id = consumer ?? record?.consumer ?? ''
  const known = await consumers.findConsumer(id, signal)
  if (known === undefined) throw unknownConsumer(id)
  const subjects = subjectsOf(policy, record === undefined ? known : callerOfKey(record, known))
  if (isRefusal(subjects)) throw offPolicy(known)
  return subjects
}

/** @throws ManageFault where the policy has no such group */
function ofGroup(text: string, policy: Limited['policy']): readonly Subject[] {
  const at = text.indexOf('=')
  const [name, value] = [text.slice(0, at), text.slice(at + 1)]
  const group = policy.groups?.find((each) => each.name === name)
  if (group === undefined) throw invalid('group', `'group': the policy has no group '${name}'.`, 422)
  return group.limits.length === 0 ? [] : [{ id: groupSubject(name, value), limits: group.limits }]
}

/** Of what holds for any consumer of a plan, the one that it shares with others. */
function shared(policy: Limited['policy'], plan: string, id: string): readonly Subject[] {
  const subjects = subjectsOf(policy, { id: '', plan })
  return isRefusal(subjects) ? [] : subjects.filter((subject) => subject.id === id)
}
