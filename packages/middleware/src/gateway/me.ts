import { LRUCache } from 'lru-cache'
import pLimit from 'p-limit'
import * as z from 'zod'
import type { Authenticated } from '../auth/index.ts'
import { type CounterStore, type Subject, subjectsOf } from '../limits/index.ts'
import { type ToldLimit, tellLimits, toldLimit } from '../manage/index.ts'
import {
  describeFault,
  type Handler,
  isOutage,
  isRefusal,
  jsonResponse,
  type Log,
  refusalOfEnded,
  unlessEnded,
  withDeadline,
} from '../pipeline/index.ts'
import type { WithPolicy } from '../policy/index.ts'
import type { Table } from '../storage/index.ts'
import {
  AGE_MS,
  type ConsumerDay,
  sumsJson,
  takenSince,
  totalOf,
  type Unattributed,
  type UsageReader,
  unattributedJson,
} from '../usage/index.ts'
import { WRONG_METHOD } from './reading.ts'

const count = z.int().min(0)
const time = z.iso.datetime()
const usd = z.string().describe('The same in US dollars, as a decimal.')

const sums = z.strictObject({
  requests: count,
  answered: count,
  hits: count.describe('Answered from the cache.'),
  collapsed: count.describe("Answered by another request's call."),
  refused: count,
  failed: count,
  tokens: z.record(z.string(), count).describe('By kind: input is all that was read, and so on.'),
  costNanoUsd: count,
  costUsd: usd,
  savedNanoUsd: count.describe("What hits and others' calls spared."),
  savedUsd: usd,
  unpricedCalls: count.describe('Calls of a model without a price: their cost is in no figure.'),
  uncertainRequests: count.describe('Requests that count with all that was reserved.'),
})

const ofModel = sums.extend({
  name: z.string().describe("The policy's name; '' for requests that named none of its models."),
})

/** What a caller is told of itself: the answer of `GET /api/me`. */
export const meSchema = z
  .strictObject({
    consumer: z.string(),
    plan: z.string(),
    planMissing: z.boolean().describe('The policy does not have the plan: all requests are refused.'),
    scope: z.enum(['call', 'read', 'admin']).describe('What the key may do: of several, the first of these.'),
    groups: z.record(z.string(), z.string()),
    grant: z
      .strictObject({
        key: z
          .string()
          .describe('By what its budget is counted: the id of the key, or of the first one in whose place it is.'),
        models: z.array(z.string()).nullable(),
        zones: z.array(z.string()).nullable(),
        routes: z.array(z.string()).nullable(),
        budget: z.strictObject({ usd: z.number(), per: z.enum(['minute', 'hour', 'day', 'month']) }).nullable(),
      })
      .nullable()
      .describe('What the key narrows of what its consumer may; null where it narrows nothing.'),
    models: z.array(z.string()).describe('Those that it may name. None for a key that may not ask models.'),
    limits: z.array(toldLimit).describe('Each that holds for its requests, those that it shares with others too.'),
    spent: z
      .strictObject({
        since: time.describe('When the month of UTC began, or the first day of it that is still kept.'),
        until: time,
        asOf: time.describe('What had ended by then is in it.'),
        total: sums,
        byModel: z.array(ofModel).describe('The dearest first.'),
        byDay: z
          .array(sums.extend({ day: z.iso.date(), byModel: z.array(ofModel) }))
          .describe('Days of UTC on which it asked anything.'),
        unattributed: z
          .array(
            z.strictObject({
              subject: z.string(),
              limit: z.string(),
              measure: z.enum(['tokens', 'input', 'output', 'money']),
              windowStart: time,
              nanoUsd: count.optional(),
              usd: z.string().optional(),
              tokens: count.optional(),
            }),
          )
          .nullable()
          .describe('What its own budgets charged and no figure here shows; null where that is not known.'),
        isWhole: z.boolean().describe('Whether all of it could be read.'),
      })
      .nullable()
      .describe('What its requests came to in this month; null where it could not be read.'),
  })
  .meta({ id: 'me' })

export type Me = z.infer<typeof meSchema>

export interface MeOptions {
  readonly counters: Pick<CounterStore, 'read'>
  /** The ledger's table, and what reads it. */
  readonly table: Table
  readonly usage: Pick<UsageReader, 'daysOf' | 'unattributedOf'>
  /** The names that the caller may ask for. */
  readonly models: (caller: SelfAsking) => readonly string[]
  /** Milliseconds since 1970. */
  readonly wallClock: () => number
}

/** Whoever asks, by whatever key. */
export type SelfAsking = WithPolicy & Authenticated<'call' | 'read' | 'admin'>

/** What is read for one is told again for so long, in milliseconds: a page that asks every few seconds costs as much as one. */
const SAME_MS = { limits: 2_000, taken: 10_000, today: 10_000, before: 600_000, unattributed: 60_000 }
/** As many subjects, or consumers, are remembered. */
const MOST_KEPT = 2_000
/** Of all that one answer needs, in milliseconds. */
const READ_MS = 20_000
const UNATTRIBUTED_MS = 3_000
/** In each process: the days of all consumers are read for one, and calls to models must not wait for that. */
const LEDGER_READS_AT_ONCE = 2
/** So long after midnight may yesterday still get some more, in milliseconds. */
const SETTLED_MS = 300_000

const NO_STORE = { 'cache-control': 'no-store' }

/**
 * `GET …/me`: what holds for whoever asks, and what its requests came to. It sees its own consumer's figures, and of limits that it
 * shares with others how much of them is left, and nobody else's part. Takes nothing from any limit.
 */
export function me({ counters, table, usage, models, wallClock }: MeOptions): Handler<SelfAsking> {
  const limitsTold = retold<ToldLimit[]>(SAME_MS.limits, wallClock)
  const [today, before] = [SAME_MS.today, SAME_MS.before].map((ms) => retold<Days>(ms, wallClock)) as [
    Retold<Days>,
    Retold<Days>,
  ]
  const beyond = retold<readonly Unattributed[] | undefined>(SAME_MS.unattributed, wallClock)
  const takenTold = retold<Awaited<ReturnType<typeof takenSince>>>(SAME_MS.taken, wallClock)
  const takingTurns = pLimit(LEDGER_READS_AT_ONCE)

  /** What everybody took is one tally, whoever asks: a caller of whom nothing was counted yet has none read for itself. */
  function taken(from: number): ReturnType<typeof takenSince> {
    return takenTold(String(from), () =>
      takingTurns(() => takenSince(table, from, wallClock(), AbortSignal.timeout(READ_MS))),
    )
  }

  function limitsOf(subject: Subject, log: Log): Promise<ToldLimit[]> {
    // A policy that has changed has other limits under the same name.
    return limitsTold(`${subject.id}\n${subject.limits.map(({ key, quota }) => `${key} ${quota}`)}`, () =>
      tellLimits(subject, { counters, usage: table, taken, wallClock, log, signal: AbortSignal.timeout(READ_MS) }),
    )
  }

  function daysOf(consumer: string, since: number, until: number): Promise<Days> {
    return takingTurns(() => usage.daysOf({ consumer, since, until }, AbortSignal.timeout(READ_MS)))
  }

  /** What the days came to, of which those that are over are read once in a while. */
  async function spentBy(consumer: string): Promise<Me['spent']> {
    const now = wallClock()
    const month = Date.UTC(new Date(now).getUTCFullYear(), new Date(now).getUTCMonth())
    const settled = Math.max(month, Math.floor((now - SETTLED_MS) / DAY_MS) * DAY_MS)
    const [past, present, unattributed] = await Promise.all([
      month === settled ? undefined : before(`${consumer} ${settled}`, () => daysOf(consumer, month, settled)),
      today(`${consumer} ${settled}`, async () => ({ at: now, ...(await daysOf(consumer, settled, now)) })),
      beyond(consumer, () =>
        withDeadline(UNATTRIBUTED_MS, (late) => usage.unattributedOf(consumer, late)).catch(unlessFault),
      ),
    ])
    const days = [...(past?.days ?? []), ...present.days]
    const at = present.at ?? now
    return {
      since: isoTime(past?.since ?? present.since),
      until: isoTime(at),
      asOf: isoTime(at - AGE_MS),
      total: sumsJson(totalOf(days.map(({ sums }) => sums))),
      byModel: byModel(days),
      byDay: [...Map.groupBy(days, ({ start }) => start)].map(([start, own]) => ({
        day: isoTime(start).slice(0, 10),
        ...sumsJson(totalOf(own.map(({ sums }) => sums))),
        byModel: byModel(own),
      })),
      unattributed: unattributed?.map(unattributedJson) ?? null,
      isWhole: [past, present].every((part) => part === undefined || part.unreadable.length === 0),
    }
  }

  async function spent(consumer: string, log: Log): Promise<Me['spent']> {
    try {
      return await spentBy(consumer)
    } catch (error) {
      if (!isOutage(error)) throw error
      log('error', 'usage not read', describeFault(error))
      return null
    }
  }

  async function tell(asking: SelfAsking, log: Log): Promise<Me> {
    const { policy, consumer: caller, scope } = asking
    const { id, plan, groups = {}, grant } = caller
    const subjects = subjectsOf(policy, caller)
    const [limits, own] = await Promise.all([
      isRefusal(subjects) ? [] : Promise.all(subjects.map((subject) => limitsOf(subject, log))),
      spent(id, log),
    ])
    return {
      consumer: id,
      plan,
      // A token that may only manage has none.
      planMissing: isRefusal(subjects) && plan !== '',
      scope,
      groups,
      grant: grant === undefined ? null : grantJson(grant),
      models: scope === 'call' && !isRefusal(subjects) ? [...models(asking)] : [],
      limits: limits.flat(),
      spent: own,
    }
  }

  return async function me(request, context) {
    if (request.method !== 'GET') return WRONG_METHOD
    const told = await unlessEnded(tell(context, context.log), request.signal)
    return told === 'ended' ? refusalOfEnded(request.signal) : jsonResponse(200, told, NO_STORE)
  }
}

const DAY_MS = 86_400_000

interface Days {
  /** When they were read, of those that are not over. */
  readonly at?: number
  readonly since: number
  readonly days: readonly ConsumerDay[]
  readonly unreadable: readonly string[]
}

function byModel(days: readonly ConsumerDay[]) {
  return [...Map.groupBy(days, ({ model }) => model)]
    .map(([name, own]) => ({ name, ...sumsJson(totalOf(own.map(({ sums }) => sums))) }))
    .sort((a, b) => b.costNanoUsd - a.costNanoUsd || b.requests - a.requests || (a.name < b.name ? -1 : 1))
}

function grantJson({ key, models, zones, routes, budget }: NonNullable<SelfAsking['consumer']['grant']>): Me['grant'] {
  const list = (names: readonly string[] | undefined) => (names === undefined ? null : [...names])
  return { key, models: list(models), zones: list(zones), routes: list(routes), budget: budget ?? null }
}

function isoTime(at: number): string {
  return new Date(at).toISOString()
}

/** @throws what is no outage */
function unlessFault(error: unknown): undefined {
  if (!isOutage(error)) throw error
}

type Retold<Value> = (name: string, read: () => Promise<Value>) => Promise<Value>

/** Reads once, for all who ask within so many milliseconds. A failure is told to those who wait for it, and to no other. */
function retold<Value>(ms: number, wallClock: () => number): Retold<Value> {
  const kept = new LRUCache<string, { readonly at: number; readonly value: Promise<Value> }>({ max: MOST_KEPT })
  return (name, read) => {
    const known = kept.get(name)
    if (known !== undefined && wallClock() - known.at < ms) return known.value
    const value = read()
    kept.set(name, { at: wallClock(), value })
    value.catch(() => kept.delete(name))
    return value
  }
}
