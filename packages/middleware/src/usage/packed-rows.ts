import { deflateRawSync, inflateRawSync } from 'node:zlib'
import type { UsageAttempt, UsageRow } from './figures.ts'

/** A row before its place gives it an id. */
export type NewRow = Omit<UsageRow, 'id'>

/**
 * What most rows have in common is written once for all of them: the same consumer asks the same model on the same way again and
 * again. What differs stands in the row, by its place.
 */
type Common = Omit<
  NewRow,
  'requestId' | 'promptHash' | 'startedAt' | 'ms' | 'firstTokenMs' | 'steps' | 'left' | keyof Own
> & {
  readonly steps: readonly (readonly [name: string, decision: string])[]
  readonly left?: readonly (readonly [limit: string, measure: string, of: number])[]
}

/** What is no hit's. */
type Own = Pick<NewRow, 'usage' | 'toolCalls' | 'reserved' | 'costNanoUsd' | 'savedNanoUsd'> & {
  readonly attempts?: readonly (Omit<UsageAttempt, 'price'> & { readonly price?: number })[]
}

type PackedRow = readonly [
  requestId: string,
  promptHash: string | 0,
  /** Milliseconds since the first row's. */
  startedAt: number,
  /** Hundredths of milliseconds, as all of these. */
  ms: number,
  firstTokenMs: number,
  common: number,
  stepMs: readonly number[],
  left: readonly number[] | 0,
  own: Own | 0,
]

interface Packed {
  readonly v: 1
  readonly from: number
  readonly commons: readonly Common[]
  readonly prices: readonly object[]
  readonly rows: readonly PackedRow[]
}

/** Rows that are being packed. */
export interface RowPacker {
  add(row: NewRow): void
  /** Characters of JSON so far. */
  readonly length: number
  readonly rows: number
  /** All that was added since the last time, deflated. */
  take(): Uint8Array
}

const NONE = -1

export function rowPacker(): RowPacker {
  let from = 0
  let length = 0
  let commons = newBranch()
  /** JSON of each. */
  let commonTexts: string[] = []
  let prices = new Map<object, number>()
  let rows: string[] = []

  function commonIndex(row: NewRow): number {
    const branch = branchOf(commons, row)
    if (branch.index === undefined) {
      branch.index = commonTexts.length
      const text = JSON.stringify(commonOf(row))
      commonTexts.push(text)
      length += text.length
    }
    return branch.index
  }

  function priceIndex(price: object): number {
    let index = prices.get(price)
    if (index === undefined) {
      index = prices.size
      prices.set(price, index)
      length += JSON.stringify(price).length
    }
    return index
  }

  function ownText({ usage, toolCalls, reserved, costNanoUsd, savedNanoUsd, attempts }: NewRow): string {
    if (usage === undefined && reserved === undefined && costNanoUsd === undefined && attempts === undefined) {
      if (toolCalls === undefined) return savedNanoUsd === undefined ? '0' : `{"savedNanoUsd":${savedNanoUsd}}`
    }
    const told = attempts?.map(({ price, ...attempt }) =>
      price === undefined ? attempt : { ...attempt, price: priceIndex(price) },
    )
    return JSON.stringify({ usage, toolCalls, reserved, costNanoUsd, savedNanoUsd, attempts: told })
  }

  return {
    get length() {
      return length
    },
    get rows() {
      return rows.length
    },
    add(row) {
      const { requestId, promptHash, startedAt, ms, firstTokenMs, steps, left } = row
      if (rows.length === 0) from = startedAt
      let stepMs = ''
      for (const step of steps) stepMs += stepMs === '' ? hundredths(step.ms) : `,${hundredths(step.ms)}`
      let lefts = ''
      for (const each of left ?? []) lefts += lefts === '' ? each.left : `,${each.left}`
      // A `PackedRow`, written by hand: this is done for each request.
      const text = `[${JSON.stringify(requestId)},${promptHash === undefined ? 0 : `"${promptHash}"`},${startedAt - from},${hundredths(ms)},${firstTokenMs === undefined ? NONE : hundredths(firstTokenMs)},${commonIndex(row)},[${stepMs}],${left === undefined ? 0 : `[${lefts}]`},${ownText(row)}]`
      length += text.length
      rows.push(text)
    },
    take() {
      const text = `{"v":1,"from":${from},"commons":[${commonTexts.join()}],"prices":${JSON.stringify([...prices.keys()])},"rows":[${rows.join()}]}`
      length = 0
      commons = newBranch()
      commonTexts = []
      prices = new Map()
      rows = []
      return deflateRawSync(text, { level: 1 })
    },
  }
}

function commonOf(row: NewRow): Common {
  const { call, status, outcome, refusal, stream, consumer, plan, policy, surface, operation, streamed, route } = row
  const { model, cache, limit, tier, uncertain, clamped, dryRun, steps, left } = row
  const who = { call, status, outcome, refusal, stream, consumer, plan, policy, surface, operation, streamed, route }
  return {
    ...who,
    ...{ model, cache, limit, tier, uncertain, clamped, dryRun },
    steps: steps.map(({ name, decision }) => [name, decision]),
    left: left?.map(({ limit: name, measure, of }) => [name, measure, of]),
  } as Common
}

/** What rows have in common, found by walking from one of its values to the next: cheaper than to make a text of them all. */
interface Branch {
  readonly next: Map<unknown, Branch>
  /** Where the common part stands whose last value this is. */
  index: number | undefined
}

function newBranch(): Branch {
  return { next: new Map(), index: undefined }
}

function to(branch: Branch, value: unknown): Branch {
  let next = branch.next.get(value)
  if (next === undefined) {
    next = newBranch()
    branch.next.set(value, next)
  }
  return next
}

/** Another one for each two rows that differ in what `commonOf` says of them. What differs most often is looked at last. */
function branchOf(root: Branch, row: NewRow): Branch {
  let at = to(to(root, row.steps.length), row.left?.length)
  for (const { name, decision } of row.steps) at = to(to(at, name), decision)
  for (const { limit, measure, of } of row.left ?? []) at = to(to(to(at, limit), measure), of)
  at = to(to(to(to(at, row.call), row.outcome), row.refusal), row.stream)
  at = to(to(to(to(at, row.policy), row.surface), row.operation), row.streamed)
  at = to(to(to(to(at, row.route), row.cache), row.limit), row.tier)
  at = to(to(to(to(at, row.uncertain), row.clamped), row.dryRun), row.status)
  return to(to(to(at, row.model), row.plan), row.consumer)
}

/** Whole ones are turned into text much faster than milliseconds with their fraction. */
function hundredths(ms: number): number {
  return Math.round(ms * 100)
}

/** @throws Error where these are no rows, or of a version that this one doesn't know */
export function unpackRows(bytes: Uint8Array): NewRow[] {
  const packed = JSON.parse(inflateRawSync(bytes).toString()) as Packed
  if (packed.v !== 1) throw new Error('Rows of usage have an unknown form')
  const { from, commons, prices, rows } = packed
  return rows.map(([requestId, promptHash, startedAt, ms, firstTokenMs, common, stepMs, lefts, own]) => {
    const { steps = [], left, ...alike } = commons[common] ?? ({} as Common)
    const { attempts, ...others } = own === 0 ? ({} as Own) : own
    return {
      requestId,
      ...(promptHash === 0 ? {} : { promptHash }),
      startedAt: from + startedAt,
      ms: ms / 100,
      ...(firstTokenMs === NONE ? {} : { firstTokenMs: firstTokenMs / 100 }),
      ...alike,
      ...others,
      ...(attempts && {
        attempts: attempts.map(({ price, ...attempt }) =>
          price === undefined ? attempt : { ...attempt, price: prices[price] ?? {} },
        ),
      }),
      steps: steps.map(([name, decision], index) => ({ name, decision, ms: (stepMs[index] ?? 0) / 100 })),
      ...(left && {
        left: left.map(([limit, measure, of], index) => ({
          limit,
          measure,
          of,
          left: lefts === 0 ? 0 : (lefts[index] ?? 0),
        })),
      }),
    } as NewRow
  })
}
