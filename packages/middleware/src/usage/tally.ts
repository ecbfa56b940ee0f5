import {
  type Histogram,
  LATENCY_BOUNDS_MS,
  type ModelFigures,
  type UsageAttempt,
  type UsageRow,
  type UsageSums,
} from './figures.ts'
import { type Adding, addSums, addTokens, isNothing, noSums, storedSums } from './sums.ts'

/** What one consumer's requests for one model came to. */
export interface Cell {
  /** '' for requests without a valid key. */
  readonly consumer: string
  readonly plan: string
  /** '' for requests that named no model of the policy. */
  readonly model: string
  readonly sums: Adding
  /** By the target's id: its calls. */
  readonly targets: Map<string, Adding>
  /** Requests that a shadow revision was judged on, by why it would have refused them; '' for those that it would have let through. */
  readonly judged: Map<string, number>
}

/** What is known of one model's requests beside what its cells say. */
interface ModelTally {
  readonly duration: Counting
  readonly firstToken: Counting
  readonly refusedBy: Map<string, number>
}

interface Counting {
  readonly counts: number[]
  sumMs: number
}

/**
 * What requests came to, of whatever time: a part of a minute, an hour, a month. All figures are sums, so that two tallies can be
 * added, and it makes no difference in which order.
 */
export interface Tally {
  /** Requests' ends, and those of calls that went on: as many as there are rows. */
  rows: number
  readonly cells: Map<string, Cell>
  readonly models: Map<string, ModelTally>
}

export function newTally(): Tally {
  return { rows: 0, cells: new Map(), models: new Map() }
}

/** A dry run asks for nothing and takes nothing: it has a row, and is in no sum. Its cell tells whose rows there are. */
export function addRow(tally: Tally, row: UsageRow): void {
  tally.rows += 1
  const { consumer = '', plan = '', model = '' } = row
  const cell = cellOf(tally, consumer, plan, model)
  if (row.dryRun) return
  const { sums } = cell
  if (row.outcome !== 'call') addRequest(sums, row)
  if (row.usage) addSums(sums, { tokens: row.usage })
  sums.costNanoUsd += row.costNanoUsd ?? 0
  sums.savedNanoUsd += row.savedNanoUsd ?? 0
  if (row.uncertain) sums.uncertain += 1
  for (const attempt of row.attempts ?? []) addAttempt(cellOf(tally, consumer, plan, attempt.model), cell, attempt)
  if (row.outcome === 'call') return
  if (row.shadow !== undefined) increase(cell.judged, row.wouldRefuse ?? '', 1)
  const { duration, firstToken, refusedBy } = modelOf(tally, model)
  count(duration, row.ms)
  if (row.firstTokenMs !== undefined) count(firstToken, row.firstTokenMs)
  if (row.outcome === 'refused' && row.limit !== undefined) increase(refusedBy, row.limit, 1)
}

/** @param own of the model that was called @param ofRow of the one that answered, in whose sums all of the row is already */
function addAttempt(own: Cell, ofRow: Cell, attempt: UsageAttempt): void {
  const { target, usage, costNanoUsd = 0, code } = attempt
  const isUnpriced = usage !== undefined && attempt.costNanoUsd === undefined
  addSums(targetOf(own, target), {
    requests: 1,
    [code === undefined ? 'answered' : 'failed']: 1,
    ...(usage && { tokens: usage }),
    costNanoUsd,
    unpriced: isUnpriced ? 1 : 0,
  })
  if (isUnpriced) own.sums.unpriced += 1
  if (own === ofRow) return
  // What another model took before it failed is that one's, whose limits it was charged to.
  for (const kind in usage) {
    const count = Math.min(usage[kind] ?? 0, ofRow.sums.tokens[kind] ?? 0)
    addTokens(own.sums.tokens, { [kind]: count })
    addTokens(ofRow.sums.tokens, { [kind]: -count })
  }
  const cost = Math.min(costNanoUsd, ofRow.sums.costNanoUsd)
  own.sums.costNanoUsd += cost
  ofRow.sums.costNanoUsd -= cost
}

function addRequest(sums: Adding, { outcome, cache }: UsageRow): void {
  sums.requests += 1
  if (outcome === 'refused') sums.refused += 1
  else if (outcome === 'failed') sums.failed += 1
  else {
    sums.answered += 1
    if (cache === 'hit') sums.hits += 1
    if (cache === 'collapsed') sums.collapsed += 1
  }
}

export function addTally(to: Tally, more: Tally): void {
  to.rows += more.rows
  for (const cell of more.cells.values()) {
    addToCell(cellOf(to, cell.consumer, cell.plan, cell.model), cell)
  }
  for (const [name, model] of more.models) {
    const own = modelOf(to, name)
    addHistogram(own.duration, model.duration)
    addHistogram(own.firstToken, model.firstToken)
    for (const [limit, times] of model.refusedBy) increase(own.refusedBy, limit, times)
  }
}

/** The same figures, with those of all consumers together. */
export function withoutConsumers(tally: Tally): Tally {
  const cells = new Map<string, Cell>()
  const models: Tally = { rows: tally.rows, cells, models: tally.models }
  for (const cell of tally.cells.values()) addToCell(cellOf(models, '', '', cell.model), cell)
  return models
}

/** In the place of a consumer that is to be forgotten: what its requests came to stays in all sums. */
export const FORGOTTEN = '(forgotten)'

/** The same figures without this consumer's name; `undefined` where it has none. */
export function withoutName(tally: Tally, consumer: string): Tally | undefined {
  if (![...tally.cells.values()].some((cell) => cell.consumer === consumer)) return undefined
  const nameless: Tally = { rows: tally.rows, cells: new Map(), models: tally.models }
  for (const cell of tally.cells.values()) {
    const name = cell.consumer === consumer ? FORGOTTEN : cell.consumer
    addToCell(cellOf(nameless, name, cell.plan, cell.model), cell)
  }
  return nameless
}

function addToCell(cell: Cell, { sums, targets, judged }: Cell): void {
  addSums(cell.sums, sums)
  for (const [target, taken] of targets) addSums(targetOf(cell, target), taken)
  for (const [why, times] of judged) increase(cell.judged, why, times)
}

/** By model, over all consumers. */
export function modelFigures(tally: Tally): ModelFigures[] {
  const sums = new Map<string, { readonly sums: Adding; readonly targets: Map<string, Adding> }>()
  const of = (model: string) => orMade(sums, model, () => ({ sums: noSums(), targets: new Map() }))
  for (const cell of tally.cells.values()) {
    if (isNothing(cell.sums)) continue
    const own = of(cell.model)
    addSums(own.sums, cell.sums)
    for (const [target, taken] of cell.targets) addSums(orMade(own.targets, target, noSums), taken)
  }
  for (const model of tally.models.keys()) of(model)
  return [...sums].map(([model, own]) => {
    const { duration, firstToken, refusedBy } = modelOf(tally, model)
    const targets = Array.from(own.targets, ([id, taken]) => [id, { sums: taken, failed: taken.failed }] as const)
    return {
      model,
      sums: own.sums,
      duration,
      firstToken,
      refusedBy: Object.fromEntries(refusedBy),
      targets: Object.fromEntries(targets),
    }
  })
}

function cellOf({ cells }: Tally, consumer: string, plan: string, model: string): Cell {
  // None of the names holds a line break.
  const key = `${consumer}\n${plan}\n${model}`
  return orMade(cells, key, () => ({ consumer, plan, model, sums: noSums(), targets: new Map(), judged: new Map() }))
}

function targetOf({ targets }: Cell, target: string): Adding {
  return orMade(targets, target, noSums)
}

function modelOf({ models }: Tally, model: string): ModelTally {
  return orMade(models, model, () => ({ duration: noTimes(), firstToken: noTimes(), refusedBy: new Map() }))
}

function orMade<Value>(map: Map<string, Value>, key: string, make: () => Value): Value {
  let value = map.get(key)
  if (value === undefined) {
    value = make()
    map.set(key, value)
  }
  return value
}

function increase(counts: Map<string, number>, name: string, by: number): void {
  counts.set(name, (counts.get(name) ?? 0) + by)
}

function noTimes(): Counting {
  return { counts: new Array(LATENCY_BOUNDS_MS.length + 1).fill(0), sumMs: 0 }
}

function count(to: Counting, ms: number): void {
  const bucket = LATENCY_BOUNDS_MS.findIndex((bound) => ms <= bound)
  const index = bucket < 0 ? LATENCY_BOUNDS_MS.length : bucket
  to.counts[index] = (to.counts[index] ?? 0) + 1
  to.sumMs += Math.round(ms)
}

function addHistogram(to: Counting, more: Histogram): void {
  for (const [index, times] of more.counts.entries()) to.counts[index] = (to.counts[index] ?? 0) + times
  to.sumMs += more.sumMs
}

/** As it is stored: names once, and nothing that is 0. */
interface StoredTally {
  readonly v: 1
  readonly rows: number
  readonly cells: readonly {
    readonly of: readonly [consumer: string, plan: string, model: string]
    readonly sums: Partial<UsageSums>
    readonly targets?: Readonly<Record<string, Partial<UsageSums>>>
    readonly judged?: Readonly<Record<string, number>>
  }[]
  readonly models: readonly {
    readonly model: string
    readonly duration: StoredTimes
    readonly firstToken?: StoredTimes
    readonly refusedBy?: Readonly<Record<string, number>>
  }[]
}

/** The counts by their bucket, of those that are not 0. */
type StoredTimes = readonly [sumMs: number, counts: Readonly<Record<number, number>>]

export function tallyJson({ rows, cells, models }: Tally): string {
  const stored: StoredTally = {
    v: 1,
    rows,
    cells: Array.from(cells.values(), ({ consumer, plan, model, sums, targets, judged }) => ({
      of: [consumer, plan, model],
      sums: storedSums(sums),
      ...(targets.size > 0 && {
        targets: Object.fromEntries(Array.from(targets, ([id, taken]) => [id, storedSums(taken)])),
      }),
      ...(judged.size > 0 && { judged: Object.fromEntries(judged) }),
    })),
    models: Array.from(models, ([model, { duration, firstToken, refusedBy }]) => ({
      model,
      duration: storedTimes(duration),
      ...(firstToken.counts.some((times) => times > 0) && { firstToken: storedTimes(firstToken) }),
      ...(refusedBy.size > 0 && { refusedBy: Object.fromEntries(refusedBy) }),
    })),
  }
  return JSON.stringify(stored)
}

/** @throws Error for a tally of a version that this one doesn't know */
export function tallyOf(json: string): Tally {
  const stored = JSON.parse(json) as StoredTally
  if (stored.v !== 1) throw new Error('A tally of usage has an unknown form')
  const tally = newTally()
  tally.rows = stored.rows
  for (const { of, sums, targets, judged } of stored.cells) {
    const cell = cellOf(tally, ...of)
    addSums(cell.sums, sums)
    for (const target in targets) addSums(targetOf(cell, target), targets[target] ?? {})
    for (const why in judged) increase(cell.judged, why, judged[why] ?? 0)
  }
  for (const { model, duration, firstToken, refusedBy } of stored.models) {
    const own = modelOf(tally, model)
    addTimes(own.duration, duration)
    if (firstToken) addTimes(own.firstToken, firstToken)
    for (const limit in refusedBy) increase(own.refusedBy, limit, refusedBy[limit] ?? 0)
  }
  return tally
}

function storedTimes({ sumMs, counts }: Histogram): StoredTimes {
  return [sumMs, Object.fromEntries(counts.map((times, bucket) => [bucket, times]).filter(([, times]) => times !== 0))]
}

function addTimes(to: Counting, [sumMs, counts]: StoredTimes): void {
  to.sumMs += sumMs
  for (const bucket in counts) to.counts[bucket] = (to.counts[bucket] ?? 0) + (counts[bucket] ?? 0)
}
