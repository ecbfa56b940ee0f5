import { inflateRawSync } from 'node:zlib'
import type { UsageAttempt } from './figures.ts'
import type { NewRow } from './packed-rows.ts'

/* Rows as they were packed first, by those that are still kept: JSON, deflated. */

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

const NONE = -1

/** @throws Error where these are no rows of this version */
export function unpackVersion1(bytes: Uint8Array): NewRow[] {
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
