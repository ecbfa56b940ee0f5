import type { HttpClient, HttpMethods, Pipeline } from '@azure/core-rest-pipeline'
import type { TableClient } from '@azure/data-tables'
import type { EntityKey } from './entity.ts'
import type * as Sdk from './sdk.ts'
import { type AccountKey, sharedKey } from './shared-key.ts'

/**
 * The policies that the SDK puts into each client's pipeline and one row's request needs none of: they cost four times as
 * much as all else. What stays is what signs (a key, a token), the proxy, and whatever the SDK may add one day.
 */
const NEEDLESS = [
  'serializationPolicy',
  'deserializationPolicy',
  'decompressResponsePolicy',
  'wrapAbortSignalLikePolicy',
  'formDataPolicy',
  'multipartPolicy',
  'setClientRequestIdPolicy',
  'namingErrors',
  'defaultRetryPolicy',
  'tracingPolicy',
  'redirectPolicy',
  'logPolicy',
]

export interface TableRequest {
  readonly method: HttpMethods
  /** Without one it is the table that is asked. */
  readonly key?: EntityKey | undefined
  /** The fields wanted; all by default. */
  readonly select?: readonly string[] | undefined
  /** JSON */
  readonly body?: string | undefined
  /** The ETag that the row must have; `*` for any row. */
  readonly ifMatch?: string | undefined
  readonly signal?: AbortSignal | undefined
}

export interface TableAnswer {
  readonly status: number
  readonly etag: string | undefined
  /** By the service's clock, to the second: milliseconds since 1970. `undefined` where the answer bore no date. */
  readonly date: number | undefined
  /** What the service says went wrong, and its code for it (`TableNotFound` …). */
  error(): { readonly code: string | undefined; readonly message: string }
  /** What the body says. @throws RestError where it is no JSON. */
  json(): Readonly<Record<string, unknown>>
}

/** One table, asked for rows by requests of our own, which the SDK signs; and the SDK's client, for all that is rarer. */
export interface TableConnection {
  readonly client: TableClient
  /**
   * Sends a request once.
   *
   * @throws RestError where no answer came; `AbortError` where the signal was aborted.
   */
  send(request: TableRequest): Promise<TableAnswer>
  /** An answer that nobody expects, as the SDK throws it: with its `statusCode`, and the service's own `code`. */
  refusal(answer: TableAnswer): Error
}

export interface ConnectOptions {
  readonly sdk: typeof Sdk
  /** Sends what was signed. */
  readonly httpClient: HttpClient
  /** Allows plain http. */
  readonly insecure: boolean
  /** Where the client has one: requests are signed with it here. */
  readonly key?: AccountKey | undefined
}

export function connectTable(client: TableClient, { sdk, httpClient, insecure, key }: ConnectOptions): TableConnection {
  const pipeline = signing(client.pipeline, key)
  // With a signature for access (SAS), the client's URL has it for its query.
  const { origin, pathname, search } = new URL(client.url)
  const table = `${origin}${pathname.replace(/\/$/, '')}/${client.tableName}`

  return {
    client,
    async send({ method, key, select, body, ifMatch, signal }) {
      const headers: Record<string, string> = { accept: 'application/json;odata=minimalmetadata', ...VERSIONS }
      if (body !== undefined) {
        headers['content-type'] = 'application/json'
        if (method === 'POST') headers.prefer = 'return-no-content'
      }
      if (ifMatch !== undefined) headers['if-match'] = ifMatch
      const request = sdk.createPipelineRequest({
        url: table + (key === undefined ? '' : keyText(key)) + queryText(search, select),
        method,
        headers: sdk.createHttpHeaders(headers),
        allowInsecureConnection: insecure,
        ...(body === undefined ? {} : { body }),
        ...(signal === undefined ? {} : { abortSignal: signal }),
      })
      const { status, headers: answered, bodyAsText } = await pipeline.sendRequest(httpClient, request)
      const date = Date.parse(answered.get('date') ?? '')
      return {
        status,
        etag: answered.get('etag'),
        date: Number.isNaN(date) ? undefined : date,
        error() {
          const { code = answered.get('x-ms-error-code'), message } = errorOf(bodyAsText ?? '')
          return { code, message: message ?? `The table service answered with status ${status}` }
        },
        json: () => parsed(bodyAsText ?? '', status),
      }
    },
    refusal(answer) {
      const { code, message } = answer.error()
      return new sdk.RestError(message, { statusCode: answer.status, ...(code === undefined ? {} : { code }) })
    },
  }

  function parsed(text: string, status: number): Readonly<Record<string, unknown>> {
    try {
      return JSON.parse(text)
    } catch {
      throw new sdk.RestError('The answer of the table service is no JSON', {
        code: sdk.RestError.PARSE_ERROR,
        statusCode: status,
      })
    }
  }
}

/** The versions of the service and of OData that `@azure/data-tables` speaks. */
const VERSIONS = { 'x-ms-version': '2019-02-02', dataserviceversion: '3.0' }

function signing(whole: Pipeline, key: AccountKey | undefined): Pipeline {
  const pipeline = whole.clone()
  for (const name of NEEDLESS) pipeline.removePolicy({ name })
  if (key === undefined) return pipeline
  pipeline.removePolicy({ name: 'tablesNamedKeyCredentialPolicy' })
  pipeline.addPolicy(sharedKey(key), { phase: 'Sign' })
  return pipeline
}

function keyText({ partitionKey, rowKey }: EntityKey): string {
  return `(PartitionKey='${quoted(partitionKey)}',RowKey='${quoted(rowKey)}')`
}

/** OData doubles a quote within a text. */
function quoted(key: string): string {
  return encodeURIComponent(key.replaceAll("'", "''"))
}

function queryText(search: string, select: readonly string[] | undefined): string {
  if (select === undefined) return search
  return `${search}${search === '' ? '?' : '&'}$select=${select.join('%2C')}`
}

function errorOf(body: string): { readonly code?: string; readonly message?: string } {
  try {
    const { code, message } = JSON.parse(body)['odata.error']
    return { code, message: message?.value }
  } catch {
    // XML from who checks keys, HTML from who stands before it: the status tells enough.
    return {}
  }
}
