import type {
  GetTableEntityOptions,
  TableClient,
  TableEntityQueryOptions,
  TableServiceClientOptions,
} from '@azure/data-tables'
import type { TokenCredential } from '@azure/identity'
import { isOutage, withoutProxyNearby } from '../pipeline/index.ts'
import type { StorageLocation } from './location.ts'

/** Opens tables by name. The SDK (about 0.15 s to load) is loaded when the first one is used. */
export type OpenTable = (name: TableName) => () => Promise<TableClient>

export type TableName = 'tollgateconsumers' | 'tollgatekeys' | 'tollgatecounters' | 'tollgatecache'

/**
 * The tables of one storage account. A table is made when it is first missed, so a warm start pays nothing for it.
 * The client's own retries are off: a repeated write can't tell its own success from another's.
 */
export function openTables(location: TableLocation): OpenTable {
  const credential = once(() => openCredential(location))
  return (name) => once(() => connect(location, name, credential))
}

type TableLocation = Exclude<StorageLocation, { kind: 'memory' }>

/** One for all tables, so that they share its token. */
async function openCredential(location: TableLocation): Promise<TokenCredential> {
  const { DefaultAzureCredential } = await import('@azure/identity')
  const clientId = location.kind === 'identity' ? location.clientId : undefined
  const options = clientId === undefined ? {} : { managedIdentityClientId: clientId }
  return withoutProxyNearby(() => new DefaultAzureCredential(options))
}

async function connect(
  location: TableLocation,
  name: TableName,
  credential: () => Promise<TokenCredential>,
): Promise<TableClient> {
  const { TableClient } = await import('@azure/data-tables')
  const options: TableServiceClientOptions = {
    retryOptions: { maxRetries: 0 },
    additionalPolicies: [{ position: 'perCall', policy: namingErrors }],
  }
  if (location.kind === 'connection-string') {
    const { connectionString, loopback: allowInsecureConnection } = location
    return withoutProxyNearby(() =>
      TableClient.fromConnectionString(connectionString, name, { ...options, allowInsecureConnection }),
    )
  }
  const identity = await credential()
  return withoutProxyNearby(() => new TableClient(location.endpoint, name, identity, options))
}

/** Gives an error the service's own code (`AuthenticationFailed` …), where the SDK keeps it apart: a log line tells it. */
const namingErrors: NonNullable<TableServiceClientOptions['additionalPolicies']>[number]['policy'] = {
  name: 'namingErrors',
  sendRequest: (request, next) =>
    next(request).catch((error) => {
      const code = error.response?.parsedBody?.odataError?.code
      throw code === undefined ? error : Object.assign(error, { code })
    }),
}

/**
 * Reads one entity; `undefined` where it, or its table, does not exist.
 * A read that got no answer or a 5xx is sent once more: reading twice changes nothing.
 */
export async function readEntity<T extends object>(
  table: () => Promise<TableClient>,
  key: { readonly partition: string; readonly row: string },
  options: ReadOptions = {},
): Promise<Entity<T> | undefined> {
  const client = await table()
  const request: GetTableEntityOptions = {
    ...(options.signal ? { abortSignal: options.signal } : {}),
    ...(options.onResponse ? { onResponse: options.onResponse } : {}),
    ...(options.select ? { queryOptions: { select: [...options.select] } } : {}),
  }
  const read = async () => client.getEntity<T>(key.partition, key.row, request) as Promise<Entity<T>>
  try {
    return await read().catch((error) => {
      if (options.signal?.aborted || !isPassing(error)) throw error
      return read()
    })
  } catch (error) {
    if (statusOf(error) === 404) return undefined
    throw error
  }
}

export interface ReadOptions {
  readonly signal?: AbortSignal | undefined
  readonly onResponse?: GetTableEntityOptions['onResponse'] | undefined
  /** The fields wanted; all by default. */
  readonly select?: readonly string[] | undefined
}

export type Entity<T> = T & { readonly etag: string }

/** The entities whose fields have these values, a page at a time; none where the table does not exist. */
export async function* listEntities<T extends object>(
  table: () => Promise<TableClient>,
  where: Readonly<Record<string, string>> = {},
  signal?: AbortSignal,
): AsyncGenerator<T & { readonly partitionKey: string }> {
  const { odata } = await import('@azure/data-tables')
  const filter = Object.entries(where)
    .map(([field, value]) => odata`${field} eq ${value}`)
    .join(' and ')
  yield* list<T & { readonly partitionKey: string }>(table, filter === '' ? {} : { filter }, signal)
}

export interface EntityKey {
  readonly partitionKey: string
  readonly rowKey: string
}

export interface Before {
  readonly field: string
  readonly time: Date
  /** The first partition to look at: after the last one follow those before it. */
  readonly from: string
}

/** The entities whose field names a time before this, a page at a time; none where the table does not exist. */
export async function* listEntitiesBefore(
  table: () => Promise<TableClient>,
  { field, time, from }: Before,
  signal: AbortSignal,
): AsyncGenerator<EntityKey> {
  const { odata } = await import('@azure/data-tables')
  for (const where of [odata`PartitionKey ge ${from}`, odata`PartitionKey lt ${from}`]) {
    const filter = `${where} and ${odata`${field} lt ${time}`}`
    yield* list<EntityKey>(table, { filter, select: ['PartitionKey', 'RowKey'] }, signal)
  }
}

async function* list<T>(
  table: () => Promise<TableClient>,
  queryOptions: TableEntityQueryOptions,
  signal: AbortSignal | undefined,
): AsyncGenerator<T> {
  const found = (await table()).listEntities({ queryOptions, ...(signal ? { abortSignal: signal } : {}) })
  try {
    for await (const entity of found) yield entity as T
  } catch (error) {
    if (errorCode(error) !== 'TableNotFound') throw error
  }
}

/** Runs a write; if the table does not exist yet, makes it and runs the write again. */
export async function writeEntity<T>(
  table: () => Promise<TableClient>,
  write: (client: TableClient) => Promise<T>,
): Promise<T> {
  const client = await table()
  try {
    return await write(client)
  } catch (error) {
    if (errorCode(error) !== 'TableNotFound') throw error
    await client.createTable()
    return write(client)
  }
}

function isPassing(error: unknown): boolean {
  const status = statusOf(error)
  return isOutage(error) && (status === undefined || status >= 500)
}

/** HTTP status of a failed table operation, if it got an answer. */
export function statusOf(error: unknown): number | undefined {
  return (error as { statusCode?: number } | undefined)?.statusCode
}

function errorCode(error: unknown): string | undefined {
  return (error as { details?: { odataError?: { code?: string } } } | undefined)?.details?.odataError?.code
}

/** Remembers a success; a failure is tried again by the next caller. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined
  return () => {
    made ??= make().catch((error) => {
      made = undefined
      throw error
    })
    return made
  }
}
