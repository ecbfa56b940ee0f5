import { OperatorError } from '../pipeline/index.ts'
import type { AccountKey } from './shared-key.ts'

/** Where the tables live. */
export type StorageLocation =
  | { readonly kind: 'memory' }
  | { readonly kind: 'connection-string'; readonly connectionString: string; readonly loopback: boolean }
  | { readonly kind: 'identity'; readonly endpoint: string; readonly clientId?: string }

/** A storage setting that can't be used. The message names the setting and the fix, and never its value. */
export class StorageSettingError extends OperatorError {
  override readonly name = 'StorageSettingError'
}

const LOOPBACK =
  /(?:^|;)\s*(?:TableEndpoint=http:\/\/(?:127\.0\.0\.1|localhost|\[::1\])[:/]|UseDevelopmentStorage=true)/i
const INSECURE = /(?:TableEndpoint=http:|DefaultEndpointsProtocol=http(?:;|$)|UseDevelopmentStorage=true)/i
const TABLE_HOST = /^https:\/\/[a-z0-9-]+\.table\.(?:core|cosmos)\.[a-z0-9.-]+\/?$/i

/**
 * Reads `TOLLGATE_STORAGE`, else the Function app's own account (`AzureWebJobsStorage`, or with identity
 * `AzureWebJobsStorage__tableServiceUri` or `__accountName`). `undefined` where none is set.
 *
 * @throws StorageSettingError for a value of no known form.
 */
export function storageLocation(env: Readonly<Record<string, string | undefined>>): StorageLocation | undefined {
  const own = env.TOLLGATE_STORAGE
  if (own) return parse('TOLLGATE_STORAGE', own, env.AZURE_CLIENT_ID)
  if (env.AzureWebJobsStorage) return parse('AzureWebJobsStorage', env.AzureWebJobsStorage, env.AZURE_CLIENT_ID)
  const account = env.AzureWebJobsStorage__accountName
  const uri =
    env.AzureWebJobsStorage__tableServiceUri ?? (account ? `https://${account}.table.core.windows.net` : undefined)
  if (!uri) return undefined
  return parse('AzureWebJobsStorage__tableServiceUri', uri, env.AzureWebJobsStorage__clientId ?? env.AZURE_CLIENT_ID)
}

function parse(setting: string, value: string, clientId: string | undefined): StorageLocation {
  if (value === 'memory:') return { kind: 'memory' }
  if (TABLE_HOST.test(value)) return { kind: 'identity', endpoint: value, ...(clientId ? { clientId } : {}) }
  if (/(?:^|;)\s*(?:AccountName|TableEndpoint|UseDevelopmentStorage)=/i.test(value)) {
    const loopback = LOOPBACK.test(value)
    if (!loopback && INSECURE.test(value)) {
      throw new StorageSettingError(`${setting} points to plain http outside this machine. Use https.`)
    }
    const fault = connectionFault(value)
    if (fault !== undefined) {
      throw new StorageSettingError(
        `${setting} is a connection string ${fault}. Copy it whole from the storage account's page 'Access keys', without quotes.`,
      )
    }
    return { kind: 'connection-string', connectionString: value, loopback }
  }
  throw new StorageSettingError(
    `${setting} is neither a storage connection string, nor https://<account>.table.core.windows.net ` +
      '(or .table.cosmos.azure.com), nor memory:',
  )
}

/** The key by which a connection string signs; `undefined` for a signature for access (SAS), and for the development account. */
export function accountKeyOf(connectionString: string): AccountKey | undefined {
  const parts = partsOf(connectionString)
  const [name, key] = [parts.get('accountname'), parts.get('accountkey')]
  if (!name || !key || !parts.has('defaultendpointsprotocol') || parts.has('usedevelopmentstorage')) return undefined
  return { name, key }
}

/** Where the table service is asked. @throws TypeError for a connection string that `storageLocation` would refuse */
export function tableServiceUrl(location: Exclude<StorageLocation, { kind: 'memory' }>): URL {
  if (location.kind === 'identity') return new URL(location.endpoint)
  const parts = partsOf(location.connectionString)
  if (/^true$/i.test(parts.get('usedevelopmentstorage') ?? '')) return new URL(DEVELOPMENT_TABLES)
  const [endpoint, name] = [parts.get('tableendpoint'), parts.get('accountname')]
  return new URL(endpoint || `https://${name}.table.${parts.get('endpointsuffix') || 'core.windows.net'}`)
}

const DEVELOPMENT_TABLES = 'http://127.0.0.1:10002/devstoreaccount1'

/** By their names in lower case. */
function partsOf(connectionString: string): ReadonlyMap<string, string> {
  const parts = connectionString.split(';').map((part) => {
    const [name = '', ...value] = part.trim().split('=')
    return [name.toLowerCase(), value.join('=')] as const
  })
  // The first of a name, as the SDK takes it.
  return new Map(parts.reverse())
}

/** What the SDK would stumble over at each request, in words without a value; `undefined` for a whole one. */
function connectionFault(text: string): string | undefined {
  const parts = partsOf(text)
  if (/^true$/i.test(parts.get('usedevelopmentstorage') ?? '')) return undefined
  const endpoint = parts.get('tableendpoint')
  if (endpoint !== undefined && !URL.canParse(endpoint)) return 'whose TableEndpoint is not a URL'
  if (!parts.get('accountkey')) {
    if (endpoint && parts.get('sharedaccesssignature')) return undefined
    return endpoint ? 'without AccountKey or SharedAccessSignature' : 'without AccountKey'
  }
  if (!/^[a-z\d-]+$/i.test(parts.get('accountname') ?? '')) return 'whose AccountName is no name of an account'
  if (!parts.get('defaultendpointsprotocol')) return 'without DefaultEndpointsProtocol'
  return endpoint || parts.get('endpointsuffix') ? undefined : 'without EndpointSuffix'
}
