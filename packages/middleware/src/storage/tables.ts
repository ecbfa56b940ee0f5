import type { HttpClient, PipelinePolicy } from '@azure/core-rest-pipeline'
import type { TableClient } from '@azure/data-tables'
import type { TokenCredential } from '@azure/identity'
import { loadUndici, namesProxy, withoutProxyNearby } from '../pipeline/index.ts'
import { accountKeyOf, type StorageLocation } from './location.ts'
import type * as Sdk from './sdk.ts'
import { type Table, tableOver } from './table.ts'
import { connectTable } from './table-connection.ts'
import { undiciClient } from './undici-client.ts'

/** Opens tables by name. The SDK (about 0.15 s to load) is loaded when the first one is used. */
export type OpenTable = (name: TableName) => Table

export type TableName =
  | 'tollgateconsumers'
  | 'tollgatekeys'
  | 'tollgatecounters'
  | 'tollgatecache'
  | 'tollgateusage'
  | 'tollgatepolicy'
  | 'tollgateaudit'

type TableLocation = Exclude<StorageLocation, { kind: 'memory' }>

/** The tables of one storage account. They share one token, and one set of connections. */
export function openTables(location: TableLocation): OpenTable {
  const account = once(async () => {
    const sdk = await import('./sdk.ts')
    return { sdk, httpClient: accountClient(sdk), clientOf: await openClients(location, sdk) }
  })
  return (name) =>
    tableOver(
      once(async () => {
        const { sdk, httpClient, clientOf } = await account()
        const key = location.kind === 'connection-string' ? accountKeyOf(location.connectionString) : undefined
        return connectTable(clientOf(name), { sdk, httpClient, insecure: isLoopback(location), key })
      }),
    )
}

function isLoopback(location: TableLocation): boolean {
  return location.kind === 'connection-string' && location.loopback
}

/** The SDK's clients. Their own retries are off: a repeated write can't tell its own success from another's. */
async function openClients(
  location: TableLocation,
  { TableClient }: typeof Sdk,
): Promise<(name: string) => TableClient> {
  const options = {
    retryOptions: { maxRetries: 0 },
    additionalPolicies: [{ position: 'perCall' as const, policy: namingErrors }],
    allowInsecureConnection: isLoopback(location),
  }
  if (location.kind === 'connection-string') {
    const { connectionString } = location
    return (name) => withoutProxyNearby(() => TableClient.fromConnectionString(connectionString, name, { ...options }))
  }
  const identity = await openCredential(location.clientId)
  return (name) => withoutProxyNearby(() => new TableClient(location.endpoint, name, identity, { ...options }))
}

async function openCredential(clientId: string | undefined): Promise<TokenCredential> {
  const { DefaultAzureCredential } = await import('@azure/identity')
  const options = clientId === undefined ? {} : { managedIdentityClientId: clientId }
  return withoutProxyNearby(() => new DefaultAzureCredential(options))
}

/** Gives an error the service's own code (`AuthenticationFailed` …), where the SDK keeps it apart: a log line tells it. */
const namingErrors: PipelinePolicy = {
  name: 'namingErrors',
  sendRequest: (request, next) =>
    next(request).catch((error) => {
      const code = error.response?.parsedBody?.odataError?.code
      throw code === undefined ? error : Object.assign(error, { code })
    }),
}

/**
 * What sends an account's requests: the first goes by the SDK's own client, and undici is loaded beside it, for all others.
 * Where the environment names a proxy, all go by the SDK's, which knows it.
 */
function accountClient(sdk: typeof Sdk): HttpClient {
  const own = sdk.createDefaultHttpClient()
  if (namesProxy()) return own
  let opening: Promise<HttpClient> | undefined
  const open = async (origin: string) => undiciClient(new (await loadUndici()).Pool(origin), sdk)
  return {
    async sendRequest(request) {
      if (opening !== undefined) return (await opening).sendRequest(request)
      opening = open(new URL(request.url).origin)
      opening.catch(() => {
        // Those that wait for it are told; the next one loads it again.
        opening = undefined
      })
      return own.sendRequest(request)
    },
  }
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
