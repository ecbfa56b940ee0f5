import { LRUCache } from 'lru-cache'
import { type ConsumerStore, isTokenConsumer } from '../auth/index.ts'
import { type Charged, type CounterStore, chargedTo, subjectsOf } from '../limits/index.ts'
import { isRefusal } from '../pipeline/index.ts'
import type { BudgetLimit, Plan, Policy, UsageKept } from '../policy/index.ts'
import type { Table } from '../storage/index.ts'
import { takenSince, type Unattributed, type UsageQuery, type UsageReader, usageReader } from '../usage/index.ts'

export interface OpenUsageOptions {
  /** `tollgateusage` */
  readonly table: Table
  readonly counters: CounterStore
  readonly consumers: ConsumerStore
  readonly policy: () => Pick<Policy, 'global'> & {
    readonly plans: ReadonlyMap<string, Pick<Plan, 'name' | 'limits' | 'shared'>>
    readonly usage: UsageKept
  }
  /** Milliseconds since 1970. */
  readonly wallClock?: () => number
}

/**
 * So long must a subject's counters have been still before what they charged is held against the ledger, in milliseconds: by then
 * every instance that lives has written what it had settled before, ten seconds after that at the latest.
 */
const STILL_MS = 30_000
/** Consumers whose counters are read for one report: those that are listed first. */
const MOST_SUBJECTS = 2_000
const READS_AT_ONCE = 16
/** A dashboard that asks every few seconds is told the same for so long, in milliseconds. */
const SAME_MS = 60_000
const SHARED_MS = 30_000

interface Charge extends Pick<Unattributed, 'subject' | 'windowStart' | 'units'> {
  readonly limit: BudgetLimit
}

/** Reads the ledger, and what budgets charged that it doesn't show. */
export function openUsage(options: OpenUsageOptions): UsageReader {
  const { table, counters, consumers, policy, wallClock = Date.now } = options
  /** When a subject's counters were first seen as they are, where their store doesn't tell. */
  const seen = new LRUCache<string, { readonly nonce: string; readonly at: number }>({ max: MOST_SUBJECTS })
  let told: { readonly at: number; readonly all: Promise<readonly Unattributed[]> } | undefined

  async function unattributed(query: Pick<UsageQuery, 'consumer' | 'model'>, signal: AbortSignal) {
    if (query.consumer !== undefined) return ofModel(query, await held(await chargesOf(query, signal), signal))
    const now = wallClock()
    if (told === undefined || now - told.at >= SAME_MS) {
      // Shared by all who ask meanwhile: none of their signals ends it.
      const shared = AbortSignal.timeout(SHARED_MS)
      const all = chargesOf({}, shared).then((charges) => held(charges, shared))
      told = { at: now, all }
      all.catch(() => {
        told = undefined
      })
    }
    return ofModel(query, await told.all)
  }

  async function chargesOf({ consumer }: Pick<UsageQuery, 'consumer'>, signal: AbortSignal): Promise<Charge[]> {
    const subjects = await budgetsOf(consumer, signal)
    const charges: Charge[] = []
    const read = async () => {
      for (let next = subjects.pop(); next !== undefined; next = subjects.pop()) {
        const { subject } = next
        const charged = await chargedTo({ store: counters, ...next, signal }).catch(unlessUnreadable)
        if (charged === undefined || !isStill(subject, charged)) continue
        for (const each of charged.limits) if (each.units > 0) charges.push({ subject, ...each })
      }
    }
    await Promise.all(Array.from({ length: READS_AT_ONCE }, read))
    return charges
  }

  function isStill(subject: string, { nonce, writtenAt, at }: Charged): boolean {
    if (writtenAt !== undefined) return at - writtenAt >= STILL_MS
    const before = seen.get(subject)
    if (before?.nonce === nonce) return at - before.at >= STILL_MS
    seen.set(subject, { nonce, at })
    return false
  }

  /** Whose budgets there are: of one consumer, or of all, of plans and of everybody together. */
  async function budgetsOf(consumer: string | undefined, signal: AbortSignal) {
    const found = new Map<string, readonly BudgetLimit[]>()
    const add = (who: { readonly id: string; readonly plan: string }) => {
      const subjects = subjectsOf(policy(), who)
      if (isRefusal(subjects)) return
      for (const { id, limits } of subjects) {
        if (consumer !== undefined && id !== `consumer:${consumer}`) continue
        const budgets = limits.filter(isBudget)
        if (budgets.length > 0) found.set(id, budgets)
      }
    }
    if (consumer !== undefined) {
      const known = isTokenConsumer(consumer) ? undefined : await consumers.findConsumer(consumer, signal)
      if (known !== undefined) add(known)
    } else {
      for await (const each of consumers.listConsumers(signal)) {
        add(each)
        if (found.size >= MOST_SUBJECTS) break
      }
    }
    return Array.from(found, ([subject, limits]) => ({ subject, limits }))
  }

  /** What of the charges the ledger doesn't show. It is read after them, and so shows all that they charge of those that live. */
  async function held(charges: readonly Charge[], signal: AbortSignal): Promise<Unattributed[]> {
    const windows = new Set(charges.map(({ windowStart }) => windowStart))
    const taken = new Map(
      await Promise.all(
        Array.from(windows, async (start) => [start, await takenSince(table, start, wallClock(), signal)] as const),
      ),
    )
    return charges.flatMap(({ subject, limit, windowStart, units: charged }) => {
      const { measure, model, name } = limit
      if (measure === 'requests' || measure === 'concurrency') return []
      const units = charged - (taken.get(windowStart)?.({ subject, measure, model }) ?? 0)
      return units > 0 ? [{ subject, limit: name, measure, windowStart, units }] : []
    })
  }

  function ofModel({ model }: Pick<UsageQuery, 'model'>, all: readonly Unattributed[]) {
    return model === undefined ? all : all.filter(({ limit }) => limit.endsWith(`:${model}`) || !limit.includes(':'))
  }

  return usageReader({ table, kept: () => policy().usage, wallClock, unattributed })
}

/** A row that can't be read charges nothing that anybody knows of; its requests are refused, and the log says so. */
function unlessUnreadable(error: unknown): undefined {
  if ((error as Partial<Error>).name !== 'RowUnreadable') throw error
}

function isBudget(limit: Plan['limits'][number]): limit is BudgetLimit {
  return limit.kind === 'budget' && limit.measure !== 'requests'
}
