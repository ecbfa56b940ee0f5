import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { fnv1a } from '../pipeline/index.ts'
import type { EntityKey, KeyRange, NewEntity } from '../storage/index.ts'
import { CHUNK_BYTES, chunked, chunkNames, joined, MAX_CHUNKS } from './chunks.ts'
import type { UsageRow } from './figures.ts'
import { type NewRow, rowPacker, unpackRows } from './packed-rows.ts'
import { nameOf, startNamed, startOf } from './periods.ts'
import { addRow, newTally, type Tally, tallyJson, tallyOf, withoutConsumers, withoutName } from './tally.ts'

/*
 * A segment is what one instance recorded in one minute, or a part of that: an entity that is written again while it grows. Its
 * sums, the ids of its requests and its rows are properties of their own, so that each is read without the others.
 */

/** Rows of a part: their ids fill one property. */
const MAX_ROWS = 8_192
const ID_BYTES = 4
/** Of rows without a valid key, which anybody can make, so many keep their detail: the others are counted alone. */
const MAX_ANONYMOUS = 1_024
/** What all rows of a part come to when they are deflated, and not. */
const MAX_DETAIL_BYTES = 6 * CHUNK_BYTES
const MAX_TEXT = 128 * 1024
/** Consumers × models of a part: their sums, deflated, are well under a few properties. */
const MAX_CELLS = 500

const PREFIX = 's-'

/** A segment that is being filled. */
export interface Segment {
  readonly place: EntityKey
  /** When its minute began. */
  readonly minute: number
  /** Rows so far; what of them has no detail any more. */
  readonly rows: number
  readonly dropped: number
  /** About what it takes in memory. */
  readonly bytes: number
  hasRoom(): boolean
  add(row: NewRow): void
  entity(): NewEntity
  /** Forgets all rows but their sums. Tells how many these were. */
  dropDetail(): number
}

export interface SegmentOptions {
  readonly minute: number
  readonly instance: string
  /** Unlike that of any other segment of the instance. */
  readonly part: number
}

export function newSegment({ minute, instance, part }: SegmentOptions): Segment {
  const place = segmentPlace(minute, instance, part)
  const tally = newTally()
  const packer = rowPacker()
  let members: Uint8Array[] = []
  let memberBytes = 0
  let ids = new Uint32Array(64)
  let idCount = 0
  let dropped = 0
  let anonymous = 0

  function seal(): void {
    if (packer.rows === 0) return
    const member = packer.take()
    members.push(member)
    memberBytes += member.byteLength + LENGTH_BYTES
  }

  function dropDetail(): number {
    const rows = idCount
    packer.take()
    members = []
    memberBytes = 0
    ids = new Uint32Array(64)
    idCount = 0
    dropped += rows
    return rows
  }

  return {
    place,
    minute,
    get rows() {
      return tally.rows
    },
    get dropped() {
      return dropped
    },
    get bytes() {
      return memberBytes + packer.length + ids.byteLength + tally.cells.size * CELL_BYTES
    },
    hasRoom: () =>
      tally.rows < MAX_ROWS &&
      tally.cells.size < MAX_CELLS &&
      memberBytes + packer.length + MAX_TEXT / 8 < MAX_DETAIL_BYTES,
    add(row) {
      addRow(tally, row as UsageRow)
      if (row.consumer === undefined) {
        anonymous += 1
        if (anonymous > MAX_ANONYMOUS) {
          dropped += 1
          return
        }
      }
      if (idCount === ids.length) {
        const longer = new Uint32Array(ids.length * 2)
        longer.set(ids)
        ids = longer
      }
      ids[idCount] = fnv1a(row.requestId)
      idCount += 1
      packer.add(row)
      if (packer.length >= MAX_TEXT) seal()
    },
    entity() {
      seal()
      const sums = packedSums(tally)
      const room = MAX_CHUNKS - 1 - Object.keys(sums).length
      if (memberBytes > room * CHUNK_BYTES) dropDetail()
      return entityOf(place, { rows: tally.rows, sums, dropped, ids: ids.subarray(0, idCount), members })
    },
    dropDetail,
  }
}

/** The properties of what requests came to. */
function packedSums(tally: Tally): Readonly<Record<string, Uint8Array>> {
  return {
    ...chunked('sums', packedTally(tally)),
    // A scraper asks every few seconds, and for no consumer's.
    ...chunked('models', packedTally(withoutConsumers(tally))),
  }
}

/** About what the sums of a consumer and model take in memory. */
const CELL_BYTES = 1_000
const LENGTH_BYTES = 4

function withLengths(members: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(
    members.flatMap((member) => {
      const length = Buffer.alloc(LENGTH_BYTES)
      length.writeUInt32LE(member.byteLength)
      return [length, member]
    }),
  )
}

function segmentPlace(minute: number, instance: string, part: number): EntityKey {
  const name = new Date(minute).toISOString().slice(14, 16)
  return { partitionKey: segmentPartition(minute), rowKey: `${name}-${instance}-${String(part).padStart(6, '0')}` }
}

/** All segments of an hour. */
export function segmentPartition(at: number): string {
  return `${PREFIX}${nameOf('hour', at)}`
}

/** The partitions of all segments that were opened before this hour. */
export function partitionsBefore(hour: number): KeyRange {
  return { from: PREFIX, before: segmentPartition(hour) }
}

/** The segments of these minutes, which are of one hour. */
export function minutesOf(from: number, before: number): KeyRange {
  const minute = (at: number) => new Date(at).toISOString().slice(14, 16)
  return { from: minute(from), before: startOf('hour', from) === startOf('hour', before) ? minute(before) : '6' }
}

/** When a segment was opened: the beginning of its minute. */
export function minuteOf({ partitionKey, rowKey }: EntityKey): number {
  return startNamed(partitionKey.slice(PREFIX.length)) + Number(rowKey.slice(0, 2)) * 60_000
}

/** The properties by which its sums are read: those of each consumer, or of models alone. */
export const SUMS_FIELDS = ['rows', ...chunkNames('sums')]
export const MODELS_FIELDS = ['rows', ...chunkNames('models')]
export const ROW_FIELDS = chunkNames('d')

export function packedTally(tally: Tally): Uint8Array {
  return deflateRawSync(tallyJson(tally))
}

/** `undefined` where it can't be read. */
export function tallyIn(packed: Uint8Array): Tally | undefined {
  try {
    return tallyOf(inflateRawSync(packed).toString())
  } catch {
    return undefined
  }
}

/** The sums of a segment; `undefined` where they can't be read. */
export function sumsIn(fields: Readonly<Record<string, unknown>>): Tally | undefined {
  return tallyIn(joined('sums', fields))
}

/** Those of models alone; `undefined` where they can't be read. */
export function modelSumsIn(fields: Readonly<Record<string, unknown>>): Tally | undefined {
  return tallyIn(joined('models', fields))
}

export function mayHold(ids: Uint8Array | undefined, hash: number): boolean {
  if (ids === undefined) return false
  const bytes = Buffer.from(ids.buffer, ids.byteOffset, ids.byteLength)
  for (let at = 0; at + ID_BYTES <= bytes.byteLength; at += ID_BYTES) if (bytes.readUInt32LE(at) === hash) return true
  return false
}

/**
 * The same segment without this consumer: its rows are gone, and its sums have no name; `undefined` where it has none of it.
 *
 * @throws Error where its rows can't be read
 */
export function forgotten(
  segment: EntityKey & Readonly<Record<string, unknown>>,
  consumer: string,
): { readonly entity: NewEntity; readonly removed: number } | undefined {
  const sums = sumsIn(segment)
  const tally = sums && withoutName(sums, consumer)
  if (tally === undefined) return undefined
  const { partitionKey, rowKey } = segment
  const rows = rowsIn(segment)
  const kept = rows.filter((row) => row.consumer !== consumer)
  const removed = rows.length - kept.length
  const packer = rowPacker()
  const members: Uint8Array[] = []
  for (const { id: _, ...row } of kept) {
    packer.add(row)
    if (packer.length >= MAX_TEXT) members.push(packer.take())
  }
  if (packer.rows > 0) members.push(packer.take())
  const ids = Uint32Array.from(kept, ({ requestId }) => fnv1a(requestId))
  const dropped = Number(segment.dropped ?? 0) + removed
  return {
    entity: entityOf({ partitionKey, rowKey }, { rows: tally.rows, sums: packedSums(tally), dropped, ids, members }),
    removed,
  }
}

interface Content {
  readonly rows: number
  readonly sums: Readonly<Record<string, Uint8Array>>
  readonly dropped: number
  readonly ids: Uint32Array
  readonly members: readonly Uint8Array[]
}

function entityOf(place: EntityKey, { rows, sums, dropped, ids, members }: Content): NewEntity {
  return {
    ...place,
    rows,
    dropped,
    ...sums,
    ...(ids.length === 0 ? {} : { ids: new Uint8Array(ids.buffer, ids.byteOffset, ids.byteLength) }),
    ...chunked('d', withLengths(members)),
  }
}

/** All rows whose detail there is, with their ids. @throws Error where they can't be read */
export function rowsIn({ rowKey, ...fields }: EntityKey & Readonly<Record<string, unknown>>): UsageRow[] {
  const rows: UsageRow[] = []
  const bytes = joined('d', fields)
  const [, instance, part] = rowKey.split('-')
  for (let at = 0; at + LENGTH_BYTES <= bytes.byteLength; ) {
    const end = at + LENGTH_BYTES + bytes.readUInt32LE(at)
    for (const row of unpackRows(bytes.subarray(at + LENGTH_BYTES, end))) {
      rows.push({ id: `${row.startedAt}-${instance}-${part}-${rows.length}`, ...row })
    }
    at = end
  }
  return rows
}
