import type { TableClient, TableEntityQueryOptions } from '@azure/data-tables'
import { isOutage } from '../pipeline/index.ts'
import { type Entity, type EntityKey, entityJson, entityOf, type NewEntity } from './entity.ts'
import type { TableAnswer, TableConnection, TableRequest } from './table-connection.ts'
import { ANSWER_TOO_LONG } from './undici-client.ts'

/** What must hold of a row for a change to be carried out. */
export type Condition = { readonly etag: string } | 'absent' | 'any'

export interface Timed {
  /** By the service's clock, to the second: milliseconds since 1970. `undefined` where the answer bore no date. */
  readonly date: number | undefined
}

export interface Found<T> extends Timed {
  /** `undefined` where it, or its table, does not exist. */
  readonly entity: Entity<T> | undefined
}

export interface Put extends Timed {
  /** The row's new ETag; `undefined` where the condition did not hold and nothing was written. */
  readonly etag: string | undefined
}

export interface Before {
  readonly field: string
  readonly time: Date
  /** The first partition to look at: after the last one follow those before it. */
  readonly from: string
}

/** Keys from the first on, and before the second: as they are compared by their UTF-16 units. */
export interface KeyRange {
  readonly from: string
  readonly before: string
}

export interface Scan {
  readonly partition: string | KeyRange
  /** All rows by default. */
  readonly rows?: KeyRange
  /** The fields wanted; all by default. The keys come in any case. */
  readonly select?: readonly string[]
}

/**
 * One table. It is made when a row is first written to it, so a warm start pays nothing for it. A write is sent once: where
 * a method rejects, it may or may not have been carried out, and may still be.
 *
 * @throws RestError, with the `statusCode` and the service's own `code` where there was an answer; `AbortError`.
 */
export interface Table {
  /** A read that got no answer or a 5xx is sent once more: reading twice changes nothing. */
  read<T extends object>(key: EntityKey, options?: ReadOptions): Promise<Found<T>>
  /** Writes a whole row: what stood there is replaced. */
  put(entity: NewEntity, condition: Condition, signal?: AbortSignal): Promise<Put>
  /** Changes these fields of a row, at once, and leaves the others; `false` where there is no such row. */
  merge(entity: NewEntity, signal?: AbortSignal): Promise<boolean>
  /** `false` where there is no such row, or the condition does not hold. */
  remove(key: EntityKey, condition: Exclude<Condition, 'absent'>, signal?: AbortSignal): Promise<boolean>
  /** Removes up to 100 rows of one partition, all or none; rejects with status 404 where one does not exist. */
  removeAll(keys: readonly EntityKey[], signal: AbortSignal): Promise<void>
  /** The entities whose fields have these values, a page at a time; none where the table does not exist. */
  list<T extends object>(where: Readonly<Record<string, string>>, signal?: AbortSignal): AsyncGenerator<T & EntityKey>
  /**
   * The entities of these partitions and rows, in the order of their keys, a page at a time; none where the table does not
   * exist. A page that is longer than an answer may be is asked for again, in smaller ones.
   */
  scan<T extends object>(where: Scan, signal?: AbortSignal): AsyncGenerator<T & EntityKey & { readonly etag: string }>
  /** The entities whose field names a time before this, a page at a time; none where the table does not exist. */
  listBefore(before: Before, signal: AbortSignal): AsyncGenerator<EntityKey>
}

export interface ReadOptions {
  readonly signal?: AbortSignal | undefined
  /** The fields wanted; all by default. */
  readonly select?: readonly string[] | undefined
}

/** Entities of a scan's first page. */
const PAGE = 250

/** @param connect is asked for each use, and connects once */
export function tableOver(connect: () => Promise<TableConnection>): Table {
  /** Sends a write of a row that need not exist; if the table does not exist yet, makes it and sends the write again. */
  async function insert({ client, send }: TableConnection, request: TableRequest): Promise<TableAnswer> {
    const answer = await send(request)
    if (answer.status !== 404 || answer.error().code !== 'TableNotFound') return answer
    await client.createTable(request.signal ? { abortSignal: request.signal } : {})
    return send(request)
  }

  /** Sends a change of a row that is to exist; whether it did, and had that ETag. */
  async function change(request: TableRequest): Promise<boolean> {
    const { send, refusal } = await connect()
    const answer = await send(request)
    if (isDone(answer)) return true
    if (answer.status === 404 || answer.status === 412) return false
    throw refusal(answer)
  }

  async function* list<T>(query: TableEntityQueryOptions, signal?: AbortSignal): AsyncGenerator<T> {
    const { client } = await connect()
    const found = client.listEntities({ queryOptions: query, ...(signal ? { abortSignal: signal } : {}) })
    try {
      for await (const entity of found) yield entity as T
    } catch (error) {
      if ((error as { readonly code?: unknown }).code !== 'TableNotFound') throw error
    }
  }

  return {
    async read<T extends object>(key: EntityKey, { signal, select }: ReadOptions = {}): Promise<Found<T>> {
      const { send, refusal } = await connect()
      const once = async () => {
        const answer = await send({ method: 'GET', key, select, signal })
        if (isDone(answer)) return { entity: entityOf<T>(answer.json()), date: answer.date }
        if (answer.status === 404) return { entity: undefined, date: answer.date }
        throw refusal(answer)
      }
      return once().catch((error) => {
        if (signal?.aborted || !isPassing(error)) throw error
        return once()
      })
    },

    async put(entity, condition, signal) {
      const connection = await connect()
      const { partitionKey, rowKey } = entity
      const key = condition === 'absent' ? undefined : { partitionKey, rowKey }
      const ifMatch = typeof condition === 'string' ? undefined : condition.etag
      const request: TableRequest = { method: key ? 'PUT' : 'POST', key, ifMatch, body: entityJson(entity), signal }
      // Where there is no table there is no row with that ETag either.
      const answer = ifMatch === undefined ? await insert(connection, request) : await connection.send(request)
      const { status, etag, date } = answer
      if (isDone(answer)) {
        if (etag === undefined) throw new Error('The table service wrote a row and named no ETag')
        return { etag, date }
      }
      // 409: another made the row first; 412: another changed it; 404: it was removed.
      const refused =
        condition === 'absent' ? status === 409 : ifMatch !== undefined && (status === 412 || status === 404)
      if (refused) return { etag: undefined, date }
      throw connection.refusal(answer)
    },

    merge({ partitionKey, rowKey, ...fields }, signal) {
      const key = { partitionKey, rowKey }
      return change({ method: 'PATCH', key, body: entityJson({ ...key, ...fields }), ifMatch: '*', signal })
    },

    remove: (key, condition, signal) =>
      change({ method: 'DELETE', key, ifMatch: condition === 'any' ? '*' : condition.etag, signal }),

    async removeAll(keys, abortSignal) {
      const { client } = await connect()
      const deletions = keys.map((key): ['delete', EntityKey] => ['delete', key])
      await client.submitTransaction(deletions as Parameters<TableClient['submitTransaction']>[0], { abortSignal })
    },

    async *list(where, signal) {
      const { odata } = await import('./sdk.ts')
      const filter = Object.entries(where)
        .map(([field, value]) => odata`${field} eq ${value}`)
        .join(' and ')
      yield* list(filter === '' ? {} : { filter }, signal)
    },

    async *scan<T extends object>({ partition, rows, select }: Scan, signal?: AbortSignal) {
      const { odata } = await import('./sdk.ts')
      const { client } = await connect()
      const of =
        typeof partition === 'string'
          ? odata`PartitionKey eq ${partition}`
          : odata`PartitionKey ge ${partition.from} and PartitionKey lt ${partition.before}`
      const filter = rows === undefined ? of : `${of} and ${odata`RowKey ge ${rows.from} and RowKey lt ${rows.before}`}`
      const queryOptions = { filter, ...(select && { select: ['PartitionKey', 'RowKey', ...select] }) }
      const entities = () => client.listEntities({ queryOptions, ...(signal ? { abortSignal: signal } : {}) })
      let maxPageSize = PAGE
      let continuationToken: string | undefined
      for (;;) {
        const pages = entities().byPage({ maxPageSize, ...(continuationToken && { continuationToken }) })
        try {
          for await (const page of pages) {
            yield* page as Iterable<unknown> as Iterable<T & EntityKey & { readonly etag: string }>
            continuationToken = page.continuationToken
          }
        } catch (error) {
          const { code } = error as { readonly code?: unknown }
          if (code === 'TableNotFound') return
          if (code !== ANSWER_TOO_LONG || maxPageSize === 1) throw error
          maxPageSize = Math.ceil(maxPageSize / 4)
          continue
        }
        return
      }
    },

    async *listBefore({ field, time, from }, signal) {
      const { odata } = await import('./sdk.ts')
      for (const where of [odata`PartitionKey ge ${from}`, odata`PartitionKey lt ${from}`]) {
        const filter = `${where} and ${odata`${field} lt ${time}`}`
        yield* list<EntityKey>({ filter, select: ['PartitionKey', 'RowKey'] }, signal)
      }
    },
  }
}

function isDone({ status }: TableAnswer): boolean {
  return status >= 200 && status < 300
}

function isPassing(error: unknown): boolean {
  const status = statusOf(error)
  return isOutage(error) && (status === undefined || status >= 500)
}

/** HTTP status of a failed table operation, if it got an answer. */
export function statusOf(error: unknown): number | undefined {
  return (error as { statusCode?: number } | undefined)?.statusCode
}
