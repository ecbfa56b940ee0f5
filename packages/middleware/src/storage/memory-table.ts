import { type Entity, type EntityKey, entityJson, entityOf, type FieldValue, type NewEntity } from './entity.ts'
import type { Condition, KeyRange, Table } from './table.ts'

interface Row extends EntityKey {
  /** As the service has it. */
  readonly json: Readonly<Record<string, unknown>>
}

/** A table of one process, gone with it. What it is given and gives is as on the service: a copy, without what is `undefined`. */
export function memoryTable({ wallClock = Date.now }: { readonly wallClock?: () => number } = {}): Table {
  const rows = new Map<string, Row>()
  let writes = 0
  const date = () => Math.floor(wallClock() / 1_000) * 1_000

  const find = (key: EntityKey) => rows.get(idOf(key))
  const etagOf = ({ json }: Row) => json['odata.etag'] as string
  const holds = (row: Row | undefined, condition: Condition) => {
    if (condition === 'any') return true
    if (condition === 'absent') return row === undefined
    return row !== undefined && etagOf(row) === condition.etag
  }

  function write(entity: NewEntity): string {
    writes += 1
    const etag = `W/"${writes}"`
    const { partitionKey, rowKey } = entity
    const own = { Timestamp: new Date(wallClock()).toISOString(), 'odata.etag': etag }
    rows.set(idOf(entity), { partitionKey, rowKey, json: { ...JSON.parse(entityJson(entity)), ...own } })
    return etag
  }

  function* inOrder(holds: (row: Row) => boolean): Generator<Row> {
    const found = [...rows.values()].filter(holds)
    yield* found.sort((a, b) => compare(a.partitionKey, b.partitionKey) || compare(a.rowKey, b.rowKey))
  }

  return {
    async read<T extends object>(key: EntityKey, { signal, select }: Parameters<Table['read']>[1] = {}) {
      signal?.throwIfAborted()
      const row = find(key)
      return { entity: row && selected<T>(row, select), date: date() }
    },

    async put(entity, condition, signal) {
      signal?.throwIfAborted()
      return { etag: holds(find(entity), condition) ? write(entity) : undefined, date: date() }
    },

    async merge(entity, signal) {
      signal?.throwIfAborted()
      const row = find(entity)
      if (row === undefined) return false
      const { etag: _etag, timestamp: _timestamp, ...before } = entityOf<Record<string, FieldValue>>(row.json)
      const { partitionKey, rowKey, ...changed } = entity
      write({ ...before, ...defined(changed), partitionKey, rowKey })
      return true
    },

    async remove(key, condition, signal) {
      signal?.throwIfAborted()
      const row = find(key)
      return row !== undefined && holds(row, condition) && rows.delete(idOf(key))
    },

    async removeAll(keys, signal) {
      signal.throwIfAborted()
      if (!keys.every(find)) throw Object.assign(new Error('A row of the batch does not exist'), { statusCode: 404 })
      for (const key of keys) rows.delete(idOf(key))
    },

    async *list<T extends object>(where: Readonly<Record<string, string>>, signal?: AbortSignal) {
      const matches = ({ json }: Row) => Object.entries(where).every(([field, value]) => json[field] === value)
      for (const row of inOrder(matches)) {
        signal?.throwIfAborted()
        yield entityOf<T>(row.json)
      }
    },

    async *scan<T extends object>(
      { partition, rows: range, select }: Parameters<Table['scan']>[0],
      signal?: AbortSignal,
    ) {
      const isIn = ({ partitionKey, rowKey }: Row) =>
        (typeof partition === 'string' ? partition === partitionKey : isWithin(partitionKey, partition)) &&
        (range === undefined || isWithin(rowKey, range))
      for (const row of inOrder(isIn)) {
        signal?.throwIfAborted()
        yield selected<T>(row, select)
      }
    },

    async *listBefore({ field, time, from }, signal) {
      const isBefore = ({ json }: Row) => json[`${field}@odata.type`] === 'Edm.DateTime' && dateOf(json[field]) < time
      const found = [...inOrder(isBefore)]
      const after = found.filter(({ partitionKey }) => partitionKey >= from)
      for (const { partitionKey, rowKey } of [...after, ...found.slice(0, found.length - after.length)]) {
        signal.throwIfAborted()
        yield { partitionKey, rowKey }
      }
    },
  }
}

function idOf({ partitionKey, rowKey }: EntityKey): string {
  return JSON.stringify([partitionKey, rowKey])
}

function isWithin(key: string, { from, before }: KeyRange): boolean {
  return from <= key && key < before
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function selected<T>({ json }: Row, select: readonly string[] | undefined): Entity<T> {
  if (select === undefined) return entityOf(json)
  const wanted = new Set([
    'PartitionKey',
    'RowKey',
    'odata.etag',
    ...select,
    ...select.map((name) => `${name}@odata.type`),
  ])
  return entityOf(Object.fromEntries(Object.entries(json).filter(([name]) => wanted.has(name))))
}

function defined(fields: Readonly<Record<string, FieldValue | undefined>>): Record<string, FieldValue> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Record<
    string,
    FieldValue
  >
}

function dateOf(value: unknown): Date {
  return new Date(value as string)
}
