import { deflateRawSync, inflateRawSync } from 'node:zlib'
import type { UsageAttempt, UsageRow } from './figures.ts'
import { numberPacker, numberReader } from './packed-numbers.ts'
import { unpackVersion1 } from './rows-of-version-1.ts'

/*
 * Rows, packed: a mark and a version, then, each after its length, a deflated head of JSON, what is random, and each row's numbers,
 * which are so small that deflating them takes longer than it is worth.
 */

/** A row before its place gives it an id. */
export type NewRow = Omit<UsageRow, 'id'>

/**
 * What most rows have in common is written once for all of them: the same consumer asks the same model on the same way again and
 * again. What differs stands in the row.
 */
type Common = Omit<
  NewRow,
  'requestId' | 'promptHash' | 'startedAt' | 'ms' | 'firstTokenMs' | 'steps' | 'left' | keyof Own
> & {
  readonly steps: readonly (readonly [name: string, decision: string])[]
  readonly left?: readonly (readonly [limit: string, measure: string, of: number, most?: number])[]
}

/** What is no hit's, but for what it saved. */
type Own = Pick<
  NewRow,
  'usage' | 'toolCalls' | 'reserved' | 'costNanoUsd' | 'savedNanoUsd' | 'param' | 'retryAfterMs'
> & {
  readonly attempts?: readonly (Omit<UsageAttempt, 'price'> & { readonly price?: number })[]
}

interface Head {
  /** When the first row's request came: milliseconds since 1970. */
  readonly from: number
  readonly rows: number
  readonly commons: readonly Common[]
  readonly prices: readonly object[]
  /** Of the rows that have one, in their order. */
  readonly owns: readonly Own[]
  /** Ids of requests that are no UUIDs, and hashes that are none of 256 bits. */
  readonly texts: readonly string[]
}

/** What is said of a row before its numbers. */
const ID_IS_TEXT = 1
const HASH_IS_TEXT = 2
const HAS_FIRST_TOKEN = 4
/** What it saved, and no more of its own. */
const HAS_SAVED = 8
const HAS_OWN = 16

/** No deflated stream begins so: rows of the first version were one. */
const MARK = 0xff
const VERSION = 2
const LENGTH_BYTES = 4

/** Rows that are being packed. */
export interface RowPacker {
  add(row: NewRow): void
  /** About the bytes so far, before they are deflated. */
  readonly length: number
  readonly rows: number
  /** All that was added since the last time, deflated. */
  take(): Uint8Array
}

/** What rows have in common, and what the last of them said of what differs little from one to the next. */
interface Alike {
  readonly common: Common
  readonly left: number[]
  saved: number
}

function newAlike(common: Common): Alike {
  return { common, left: new Array(common.left?.length ?? 0).fill(0), saved: 0 }
}

/** Of a consumer and a model, those that are compared with a row: the last ones. */
const MOST_ALIKE = 16

export function rowPacker(): RowPacker {
  const random = numberPacker()
  const numbers = numberPacker()
  let from = 0
  let last = 0
  let count = 0
  /** Characters of JSON. */
  let headLength = 0
  let alikes: Alike[] = []
  let indexes = new Map<string | undefined, Map<string | undefined, number[]>>()
  let hashes = new Map<string, number>()
  let prices = new Map<object, number>()
  let owns: string[] = []
  let texts: string[] = []

  function commonIndex(row: NewRow): number {
    const ofConsumer = orMade(indexes, row.consumer, () => new Map<string | undefined, number[]>())
    const candidates = orMade(ofConsumer, row.model, (): number[] => [])
    for (const index of candidates) if (isCommonOf((alikes[index] as Alike).common, row)) return index
    const common = commonOf(row)
    headLength += JSON.stringify(common).length
    candidates.unshift(alikes.length)
    if (candidates.length > MOST_ALIKE) candidates.pop()
    return alikes.push(newAlike(common)) - 1
  }

  function addText(text: string): void {
    texts.push(text)
    headLength += text.length + 3
  }

  function addOwn({ usage, toolCalls, reserved, costNanoUsd, savedNanoUsd, attempts, param, retryAfterMs }: NewRow) {
    const told = attempts?.map(({ price, ...attempt }) =>
      price === undefined ? attempt : { ...attempt, price: priceIndex(price) },
    )
    const own = { usage, toolCalls, reserved, costNanoUsd, savedNanoUsd, param, retryAfterMs, attempts: told }
    const text = JSON.stringify(own)
    owns.push(text)
    headLength += text.length
  }

  function priceIndex(price: object): number {
    return orMade(prices, price, () => {
      headLength += JSON.stringify(price).length
      return prices.size
    })
  }

  return {
    get length() {
      return random.length + numbers.length + headLength
    },
    get rows() {
      return count
    },
    add(row) {
      const { requestId, promptHash, startedAt, ms, firstTokenMs, steps, left, savedNanoUsd } = row
      if (count === 0) from = last = startedAt
      count += 1
      let flags = 0
      if (!random.uuid(requestId)) {
        flags |= ID_IS_TEXT
        addText(requestId)
      }
      /** 0: it has none. */
      let hash = 0
      if (promptHash !== undefined) {
        hash = hashes.get(promptHash) ?? 0
        if (hash === 0) {
          hash = hashes.size + 1
          hashes.set(promptHash, hash)
          if (!random.digest(promptHash)) {
            flags |= HASH_IS_TEXT
            addText(promptHash)
          }
        }
      }
      if (firstTokenMs !== undefined) flags |= HAS_FIRST_TOKEN
      if (hasOwn(row)) flags |= HAS_OWN
      else if (savedNanoUsd !== undefined) flags |= HAS_SAVED
      numbers.number(flags)
      numbers.number(hash)
      const index = commonIndex(row)
      const alike = alikes[index] as Alike
      numbers.number(index)
      numbers.signed(startedAt - last)
      last = startedAt
      numbers.number(ms * 100)
      if (firstTokenMs !== undefined) numbers.number(firstTokenMs * 100)
      for (const step of steps) numbers.number(step.ms * 100)
      if (left !== undefined) {
        for (let at = 0; at < left.length; at += 1) {
          const units = left[at]?.left ?? 0
          numbers.signed(units - (alike.left[at] ?? 0))
          alike.left[at] = units
        }
      }
      if ((flags & HAS_SAVED) !== 0 && savedNanoUsd !== undefined) {
        numbers.signed(savedNanoUsd - alike.saved)
        alike.saved = savedNanoUsd
      }
      if ((flags & HAS_OWN) !== 0) addOwn(row)
    },
    take() {
      const commons = alikes.map(({ common }) => common)
      const told = { from, rows: count, commons, prices: [...prices.keys()], texts }
      const head = deflateRawSync(`${JSON.stringify(told).slice(0, -1)},"owns":[${owns.join()}]}`, { level: 1 })
      const parts = [head, random.take(), numbers.take()]
      const packed = Buffer.concat([Buffer.of(MARK, VERSION), ...parts.flatMap((part) => [lengthOf(part), part])])
      count = 0
      headLength = 0
      alikes = []
      indexes = new Map()
      hashes = new Map()
      prices = new Map()
      owns = []
      texts = []
      return packed
    },
  }
}

function orMade<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  let value = map.get(key)
  if (value === undefined) {
    value = make()
    map.set(key, value)
  }
  return value
}

function lengthOf({ byteLength }: Uint8Array): Buffer {
  const bytes = Buffer.alloc(LENGTH_BYTES)
  bytes.writeUInt32LE(byteLength)
  return bytes
}

function hasOwn({ usage, toolCalls, reserved, costNanoUsd, attempts, param, retryAfterMs }: NewRow): boolean {
  return (
    usage !== undefined ||
    toolCalls !== undefined ||
    reserved !== undefined ||
    costNanoUsd !== undefined ||
    attempts !== undefined ||
    param !== undefined ||
    retryAfterMs !== undefined
  )
}

function commonOf(row: NewRow): Common {
  const { call, status, outcome, refusal, stream, consumer, plan, policy, surface, operation, streamed, route } = row
  const { model, reason, cache, limit, tier, uncertain, clamped, dryRun, verdict, shadow, wouldRefuse, steps, left } =
    row
  const who = { call, status, outcome, refusal, stream, consumer, plan, policy, surface, operation, streamed, route }
  return {
    ...who,
    ...{ model, reason, cache, limit, tier, uncertain, clamped, dryRun, verdict, shadow, wouldRefuse },
    steps: steps.map(({ name, decision }) => [name, decision]),
    left: left?.map(({ limit: name, measure, of, most }) =>
      most === undefined ? [name, measure, of] : [name, measure, of, most],
    ),
  } as Common
}

/** Whether it says of a row what `commonOf` would. */
function isCommonOf(common: Common, row: NewRow): boolean {
  const isAlike =
    common.cache === row.cache &&
    common.status === row.status &&
    common.stream === row.stream &&
    common.streamed === row.streamed &&
    common.surface === row.surface &&
    common.route === row.route &&
    common.refusal === row.refusal &&
    common.limit === row.limit &&
    common.outcome === row.outcome &&
    common.reason === row.reason &&
    common.call === row.call &&
    common.operation === row.operation &&
    common.plan === row.plan &&
    common.policy === row.policy &&
    common.tier === row.tier &&
    common.uncertain === row.uncertain &&
    common.clamped === row.clamped &&
    common.dryRun === row.dryRun &&
    common.verdict === row.verdict &&
    common.shadow === row.shadow &&
    common.wouldRefuse === row.wouldRefuse &&
    common.consumer === row.consumer &&
    common.model === row.model &&
    common.steps.length === row.steps.length &&
    common.left?.length === row.left?.length
  if (!isAlike) return false
  for (let index = 0; index < row.steps.length; index += 1) {
    const [name, decision] = common.steps[index] as Common['steps'][number]
    const step = row.steps[index] as NewRow['steps'][number]
    if (name !== step.name || decision !== step.decision) return false
  }
  if (row.left === undefined || common.left === undefined) return true
  for (let index = 0; index < row.left.length; index += 1) {
    const [limit, measure, of, most] = common.left[index] as (Common['left'] & object)[number]
    const own = row.left[index] as (NewRow['left'] & object)[number]
    if (limit !== own.limit || measure !== own.measure || of !== own.of || most !== own.most) return false
  }
  return true
}

/** @throws Error where these are no rows, or of a version that this one doesn't know */
export function unpackRows(bytes: Buffer): NewRow[] {
  if (bytes[0] !== MARK) return unpackVersion1(bytes)
  if (bytes[1] !== VERSION) throw new Error('Rows of usage have an unknown form')
  let at = 2
  const part = () => {
    const from = at + LENGTH_BYTES
    at = from + bytes.readUInt32LE(at)
    if (at > bytes.byteLength) throw new Error('Rows of usage are incomplete')
    return bytes.subarray(from, at)
  }
  const head = JSON.parse(inflateRawSync(part()).toString()) as Head
  const random = numberReader(part())
  const numbers = numberReader(part())

  const alikes = head.commons.map(newAlike)
  const texts = head.texts.values()
  const owns = head.owns.values()
  const hashes: string[] = []
  let last = head.from

  function hashOf(flags: number, hash: number): { readonly promptHash?: string } {
    if (hash === 0) return {}
    if (hash > hashes.length) hashes.push((flags & HASH_IS_TEXT) !== 0 ? next(texts) : random.digest())
    return { promptHash: hashes[hash - 1] as string }
  }

  function rowOf(): NewRow {
    const flags = numbers.number()
    const hash = numbers.number()
    const alike = alikes[numbers.number()] as Alike
    const { steps, left, ...common } = alike.common
    last += numbers.signed()
    return {
      requestId: (flags & ID_IS_TEXT) !== 0 ? next(texts) : random.uuid(),
      ...hashOf(flags, hash),
      startedAt: last,
      ms: numbers.number() / 100,
      ...((flags & HAS_FIRST_TOKEN) !== 0 && { firstTokenMs: numbers.number() / 100 }),
      ...common,
      steps: steps.map(([name, decision]) => ({ name, decision, ms: numbers.number() / 100 })),
      ...(left && { left: left.map((limit, at) => leftOf(limit, leftAt(alike, at))) }),
      ...((flags & HAS_SAVED) !== 0 && { savedNanoUsd: savedOf(alike) }),
      ...((flags & HAS_OWN) !== 0 && ownOf(next(owns))),
    }
  }

  function leftAt({ left }: Alike, at: number): number {
    const units = (left[at] ?? 0) + numbers.signed()
    left[at] = units
    return units
  }

  function savedOf(alike: Alike): number {
    alike.saved += numbers.signed()
    return alike.saved
  }

  function ownOf({ attempts, ...others }: Own) {
    const priced = attempts?.map(({ price, ...attempt }) =>
      price === undefined ? attempt : { ...attempt, price: head.prices[price] ?? {} },
    )
    return { ...others, ...(priced && { attempts: priced }) }
  }

  return Array.from({ length: head.rows }, rowOf)
}

function leftOf([limit, measure, of, most]: (Common['left'] & object)[number], left: number) {
  return { limit, measure, of, ...(most !== undefined && { most }), left }
}

function next<Value>(values: Iterator<Value>): Value {
  const { done, value } = values.next()
  if (done) throw new Error('Rows of usage are incomplete')
  return value
}
