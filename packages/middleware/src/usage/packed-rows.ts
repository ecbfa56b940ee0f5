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
  let commons = new Map<string, number>()
  let prices = new Map<object, number>()
  let rows: string[] = []

  function indexIn<Key>(map: Map<Key, number>, key: Key, size: number): number {
    let index = map.get(key)
    if (index === undefined) {
      index = map.size
      map.set(key, index)
      length += size
    }
    return index
  }

  function priced(attempts: readonly UsageAttempt[]): Own['attempts'] & object {
    return attempts.map(({ price, ...attempt }) =>
      price === undefined ? attempt : { ...attempt, price: indexIn(prices, price, JSON.stringify(price).length) },
    )
  }

  return {
    get length() {
      return length
    },
    get rows() {
      return rows.length
    },
    add(row) {
      const { requestId, promptHash = 0, startedAt, ms, firstTokenMs = NONE, steps, left, ...others } = row
      const { usage, toolCalls, reserved, costNanoUsd, savedNanoUsd, attempts, ...alike } = others
      const common: Common = {
        ...alike,
        steps: steps.map(({ name, decision }) => [name, decision]),
        ...(left && { left: left.map(({ limit, measure, of }) => [limit, measure, of]) }),
      }
      const key = JSON.stringify(common)
      const own: Own = {
        ...(usage && { usage }),
        ...(toolCalls && { toolCalls }),
        ...(reserved && { reserved }),
        ...(costNanoUsd !== undefined && { costNanoUsd }),
        ...(savedNanoUsd !== undefined && { savedNanoUsd }),
        ...(attempts && { attempts: priced(attempts) }),
      }
      if (rows.length === 0) from = startedAt
      const packed: PackedRow = [
        requestId,
        promptHash,
        startedAt - from,
        ms,
        firstTokenMs,
        indexIn(commons, key, key.length),
        steps.map((step) => step.ms),
        left === undefined ? 0 : left.map((each) => each.left),
        isEmpty(own) ? 0 : own,
      ]
      const text = JSON.stringify(packed)
      length += text.length
      rows.push(text)
    },
    take() {
      const text = `{"v":1,"from":${from},"commons":[${[...commons.keys()].join()}],"prices":${JSON.stringify([...prices.keys()])},"rows":[${rows.join()}]}`
      length = 0
      commons = new Map()
      prices = new Map()
      rows = []
      return deflateRawSync(text, { level: 1 })
    },
  }
}

function isEmpty(value: object): boolean {
  for (const _ in value) return false
  return true
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
      ms,
      ...(firstTokenMs === NONE ? {} : { firstTokenMs }),
      ...alike,
      ...others,
      ...(attempts && {
        attempts: attempts.map(({ price, ...attempt }) =>
          price === undefined ? attempt : { ...attempt, price: prices[price] ?? {} },
        ),
      }),
      steps: steps.map(([name, decision], index) => ({ name, decision, ms: stepMs[index] ?? 0 })),
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
