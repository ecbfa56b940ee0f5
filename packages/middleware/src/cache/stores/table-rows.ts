import { hash, randomUUID } from 'node:crypto'
import { MAX_PACKED_BYTES } from './packing.ts'

/** Table Storage's bounds: 64 KiB a property, 1 MiB an entity. Azurite counts the entity as sent, in base64: 11 fit. */
const CHUNK_BYTES = 64 * 1024
const MAX_CHUNKS = 11
const ROW_BYTES = CHUNK_BYTES * MAX_CHUNKS
/** A row that names more was never written by this. */
const MAX_PARTS = Math.ceil(MAX_PACKED_BYTES / ROW_BYTES) - 1

export interface Place {
  readonly partitionKey: string
  readonly rowKey: string
}

/** What stands in a row, whoever wrote it: `entry` and `claim` under the key itself, `part` beside an entry. */
export interface CacheRow {
  readonly kind?: unknown
  /** Every row has one, so that a sweep finds it. */
  readonly expiresAt?: unknown
  /** A claim's: by it whoever made the claim knows it again. */
  readonly nonce?: unknown
  /** An entry's that has parts: their number, and what tells them from those of any other write. */
  readonly parts?: unknown
  readonly writeId?: unknown
  readonly [chunk: `chunk${number}`]: unknown
}

/** Keys begin with one of 64 characters: so many partitions share the work. */
export function placeOf(key: string): Place {
  // Hashed where it holds characters that a row's key may not.
  const rowKey = /^[\w-]{1,200}$/.test(key) ? key : `${hash('sha256', key, 'base64url')}~`
  return { partitionKey: rowKey.slice(0, 1), rowKey }
}

export function claimRow(place: Place, nonce: string, expiresAt: number) {
  return { ...place, kind: 'claim', nonce, expiresAt: new Date(expiresAt) }
}

/** The key's own row, which holds as much as it can, and the parts beside it: to be written first. */
export function entryRows(place: Place, packed: Uint8Array, expiresAt: number) {
  const count = Math.ceil(packed.byteLength / ROW_BYTES)
  const pieces = Array.from({ length: count }, (_, index) =>
    packed.subarray(index * ROW_BYTES, (index + 1) * ROW_BYTES),
  )
  const [first = new Uint8Array(), ...rest] = pieces
  const writeId = randomUUID()
  const expiry = { expiresAt: new Date(expiresAt) }
  const parts = rest.map((piece, index) => ({
    ...partPlace(place, writeId, index),
    kind: 'part',
    ...expiry,
    ...chunksOf(piece),
  }))
  const entry = { ...place, kind: 'entry', ...expiry, parts: parts.length, writeId, ...chunksOf(first) }
  return { entry, parts }
}

/** Where the parts of an entry stand; none for a row that has none, `undefined` for one that can't be right. */
export function partPlaces(place: Place, { kind, parts, writeId }: CacheRow): readonly Place[] | undefined {
  if (kind !== 'entry' || typeof parts !== 'number' || typeof writeId !== 'string') return undefined
  if (!Number.isInteger(parts) || parts < 0 || parts > MAX_PARTS) return undefined
  return Array.from({ length: parts }, (_, index) => partPlace(place, writeId, index))
}

function partPlace({ partitionKey, rowKey }: Place, writeId: string, index: number): Place {
  return { partitionKey, rowKey: `${rowKey}!${writeId}-${index}` }
}

function chunksOf(piece: Uint8Array): Readonly<Record<`chunk${number}`, Uint8Array>> {
  const count = Math.ceil(piece.byteLength / CHUNK_BYTES)
  const chunks = Array.from({ length: count }, (_, index) => [
    `chunk${index}`,
    piece.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES),
  ])
  return Object.fromEntries(chunks)
}

/** All that the rows hold, one after the other. Whether something is missing is for the packing to notice. */
export function contentOf(rows: readonly CacheRow[]): Uint8Array {
  const chunks = rows.flatMap((row) => Array.from({ length: MAX_CHUNKS }, (_, index) => row[`chunk${index}`]))
  return Buffer.concat(chunks.filter((chunk) => chunk instanceof Uint8Array))
}

/** Milliseconds since 1970; NaN, which is never fresh, where the row names no time. */
export function expiryOf({ expiresAt }: CacheRow): number {
  return expiresAt instanceof Date ? expiresAt.getTime() : Number.NaN
}
