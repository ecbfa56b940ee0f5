import { randomBytes, randomUUID } from 'node:crypto'
import { isOutage } from '../../pipeline/index.ts'
import { type NewEntity, type OpenTable, statusOf } from '../../storage/index.ts'
import type { CacheEntry } from '../entry.ts'
import type { CacheStore, Claim, ClaimOutcome } from '../store.ts'
import { afterwards } from './afterwards.ts'
import { pack, unpack } from './packing.ts'
import type { Sweepable } from './sweep.ts'
import {
  type CacheRow,
  claimRow,
  contentOf,
  entryRows,
  expiryOf,
  type Place,
  partPlaces,
  placeOf,
} from './table-rows.ts'

/** So long after its expiry is a row removed, in milliseconds: until then it may be about to be taken over. */
const GRACE_MS = 60_000
/** Rows of one partition that a batch can remove. */
const BATCH = 100
/** Batches of a sweep that are under way at the same time. */
const SWEEPERS = 4

/**
 * Completions in Azure Table Storage: a row a key, up to 704 KiB of the packed entry in it, and the rest in parts beside
 * it. Parts are written once, before the key's own row names them, so that nobody ever reads half of a write.
 */
export function tableCacheStore(open: OpenTable): CacheStore & Sweepable {
  const table = open('tollgatecache')

  const read = async (place: Place, signal: AbortSignal) => (await table.read<CacheRow>(place, { signal })).entity

  /** `undefined` if it is torn, damaged, or of another version. */
  async function entryOf(place: Place, row: CacheRow, signal: AbortSignal): Promise<CacheEntry | undefined> {
    const places = partPlaces(place, row)
    if (places === undefined) return undefined
    const parts = await Promise.all(places.map((part) => read(part, signal)))
    return unpack(contentOf([row, ...parts.filter((part) => part !== undefined)]))
  }

  /** Whether the service can do it or not: rows that nobody will read again, and that a sweep would remove one day. */
  async function tidyAway(places: readonly (Place & { readonly etag?: string })[], signal: AbortSignal) {
    const remove = ({ etag, ...place }: Place & { readonly etag?: string }) =>
      table.remove(place, etag === undefined ? 'any' : { etag }, signal)
    const outcomes = await Promise.allSettled(places.map(remove))
    for (const outcome of outcomes) if (outcome.status === 'rejected' && !isOutage(outcome.reason)) throw outcome.reason
  }

  /**
   * @param put writes the key's own row; `false` if it may not
   * @returns `false` if the entry is too large, or may not be written
   */
  async function write(
    place: Place,
    entry: CacheEntry,
    put: (row: NewEntity) => Promise<boolean>,
    signal: AbortSignal,
  ): Promise<boolean> {
    const packed = await pack(entry)
    if (packed === undefined) return false
    const rows = entryRows(place, packed, entry.expiresAt)
    await Promise.all(rows.parts.map((part) => table.put(part, 'absent', signal)))
    const written = await put(rows.entry)
    if (!written) await tidyAway(rows.parts, signal)
    return written
  }

  async function replace(row: NewEntity, signal: AbortSignal): Promise<void> {
    const { partitionKey, rowKey } = row
    const select = ['kind', 'parts', 'writeId']
    // Before the write, so that the parts found can't be those of a row that stays.
    const { entity: before } = await table.read<CacheRow>({ partitionKey, rowKey }, { signal, select })
    await table.put(row, 'any', signal)
    await tidyAway((before && partPlaces(row, before)) ?? [], signal)
  }

  /** A claim that failed may have been written, or be written yet: nobody holds it, and others would wait for it. */
  function disown(place: Place, nonce: string): void {
    afterwards(async (signal) => {
      const row = await read(place, signal)
      if (row?.nonce === nonce) await tidyAway([{ ...place, etag: row.etag }], signal)
    })
  }

  /** @param replaced the parts of the entry that the claim was put in the place of */
  function hold(place: Place, nonce: string, firstEtag: string, replaced: readonly Place[]): Claim {
    let etag = firstEtag

    /**
     * An earlier renewal of ours may have been carried out although its answer was lost: then the row is ours still.
     *
     * @param change gives the row's ETag after it; `undefined` if the row had another before
     */
    async function ifOurs<T>(change: () => Promise<T | undefined>, signal: AbortSignal): Promise<T | undefined> {
      const changed = await change()
      if (changed !== undefined) return changed
      const row = await read(place, signal)
      if (row === undefined || row.nonce !== nonce || row.etag === etag) return undefined
      etag = row.etag
      return change()
    }

    async function update(row: NewEntity, signal: AbortSignal): Promise<boolean> {
      const changed = await ifOurs(async () => (await table.put(row, { etag }, signal)).etag, signal)
      etag = changed ?? etag
      return changed !== undefined
    }

    return {
      async store(entry, signal) {
        const stored = await write(place, entry, (row) => update(row, signal), signal)
        if (stored) await tidyAway(replaced, signal)
        return stored
      },
      renew: (expiresAt, signal) => update(claimRow(place, nonce, expiresAt), signal),
      async release(signal) {
        await ifOurs(async () => (await table.remove(place, { etag }, signal)) || undefined, signal)
      },
    }
  }

  /**
   * Whatever stands in these rows by now: a batch can't name the version to delete. What was written anew in the moment
   * since they were listed is a completion less, and a claim less that others wait for.
   */
  async function removeBatch(rows: readonly Place[], signal: AbortSignal): Promise<number> {
    try {
      await table.removeAll(rows, signal)
      return rows.length
    } catch (error) {
      if (statusOf(error) !== 404) throw error
    }
    // Another sweep was quicker with some of them, and a batch is carried out whole or not at all.
    let removed = 0
    for (const row of rows) if (await table.remove(row, 'any', signal)) removed += 1
    return removed
  }

  return {
    async get(key, signal) {
      const place = placeOf(key)
      const row = await read(place, signal)
      if (row === undefined) return undefined
      if (row.kind === 'claim') return 'claimed'
      const entry = await entryOf(place, row, signal)
      if (entry === undefined) await tidyAway([{ ...place, etag: row.etag }], signal)
      return entry
    },

    async set(key, entry, signal) {
      const put = async (row: NewEntity) => {
        const { etag } = await table.put(row, 'absent', signal)
        if (etag === undefined) await replace(row, signal)
        return true
      }
      return write(placeOf(key), entry, put, signal)
    },

    async claim(key, { now, expiresAt }, signal): Promise<ClaimOutcome> {
      const place = placeOf(key)
      const before = await read(place, signal)
      if (before !== undefined && now < expiryOf(before)) {
        if (before.kind === 'claim') return { kind: 'held' }
        const entry = await entryOf(place, before, signal)
        if (entry !== undefined) return { kind: 'found', entry }
      }
      const nonce = randomUUID()
      const row = claimRow(place, nonce, expiresAt)
      const made = await table.put(row, before === undefined ? 'absent' : before, signal).catch((error) => {
        disown(place, nonce)
        throw error
      })
      if (made.etag === undefined) return { kind: 'held' }
      const replaced = (before && partPlaces(place, before)) ?? []
      return { kind: 'claimed', claim: hold(place, nonce, made.etag, replaced) }
    },

    async sweep(now, signal) {
      let removed = 0
      // Shared by all who sweep: when one of them fails, the list ends for the others too.
      const expired = { field: 'expiresAt', time: new Date(now - GRACE_MS), from: anyPartition() }
      const batches = batchesOf(table.listBefore(expired, signal))
      const sweeper = async () => {
        for await (const batch of batches) {
          const gone = await removeBatch(batch, signal)
          removed += gone
        }
      }
      try {
        await Promise.all(Array.from({ length: SWEEPERS }, sweeper))
      } catch (error) {
        if (!signal.aborted) throw error
      }
      return { removed }
    },
  }
}

/** A sweep that is ended early, again and again, would else never come to the last ones. */
function anyPartition(): string {
  return randomBytes(1).toString('base64url').slice(0, 1)
}

/** Rows as they come, by partition: that is the order in which a table lists them. */
async function* batchesOf(rows: AsyncIterable<Place>): AsyncGenerator<readonly Place[]> {
  let batch: Place[] = []
  for await (const row of rows) {
    if (batch.length === BATCH || (batch[0] !== undefined && batch[0].partitionKey !== row.partitionKey)) {
      yield batch
      batch = []
    }
    batch.push(row)
  }
  if (batch.length > 0) yield batch
}
