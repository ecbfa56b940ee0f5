/** What a field may hold: the service's String, Int32 or Double, Boolean, Int64 (`bigint`), DateTime and Binary. */
export type FieldValue = string | number | boolean | bigint | Date | Uint8Array

export interface EntityKey {
  readonly partitionKey: string
  readonly rowKey: string
}

/** An entity to be written. A field that is `undefined` is left out. */
export type NewEntity = EntityKey & Readonly<Record<string, FieldValue | undefined>>

/** An entity as it is read: its fields, and what the service adds. */
export type Entity<T> = T &
  EntityKey & {
    readonly etag: string
    /** Of the last write, by the service's clock, as an ISO 8601 text. */
    readonly timestamp: string
  }

const TYPE = '@odata.type'

/** The service's JSON of an entity to be written. */
export function entityJson({ partitionKey, rowKey, ...fields }: NewEntity): string {
  const json: Record<string, unknown> = { PartitionKey: partitionKey, RowKey: rowKey }
  for (const name in fields) {
    const value = fields[name]
    if (typeof value === 'bigint') {
      json[name] = value.toString()
      json[name + TYPE] = 'Edm.Int64'
    } else if (value instanceof Date) {
      json[name] = value
      json[name + TYPE] = 'Edm.DateTime'
    } else if (value instanceof Uint8Array) {
      json[name] = Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64')
      json[name + TYPE] = 'Edm.Binary'
    } else {
      json[name] = value
    }
  }
  return JSON.stringify(json)
}

/** An entity of the service's JSON with minimal metadata, which names the types that JSON lacks. */
export function entityOf<T>(json: Readonly<Record<string, unknown>>): Entity<T> {
  const entity: Record<string, unknown> = {}
  for (const name in json) {
    if (name.endsWith(TYPE)) continue
    entity[OWN_NAMES[name] ?? name] = typed(json[name], json[name + TYPE])
  }
  return entity as Entity<T>
}

const OWN_NAMES: Readonly<Record<string, string>> = {
  PartitionKey: 'partitionKey',
  RowKey: 'rowKey',
  Timestamp: 'timestamp',
  'odata.etag': 'etag',
}

function typed(value: unknown, type: unknown): unknown {
  if (type === undefined || typeof value !== 'string') return value
  switch (type) {
    case 'Edm.DateTime':
      return new Date(value)
    case 'Edm.Binary':
      return Buffer.from(value, 'base64')
    case 'Edm.Int64':
      return BigInt(value)
    default:
      return value
  }
}
