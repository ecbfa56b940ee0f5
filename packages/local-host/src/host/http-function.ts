import { randomBytes, randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { RpcBody } from '../worker/core-types.ts'
import type { WorkerLog } from '../worker/functions-core.ts'
import { invoke } from '../worker/invoke.ts'
import type { FunctionApp } from '../worker/load-app.ts'
import { forward } from './forward.ts'
import { decodedHeaders, platformHeaders, toRpc, writeResult } from './rpc-http.ts'
import type { HttpTrigger } from './triggers.ts'

export interface HttpCall {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly url: URL
  readonly trigger: HttpTrigger
  readonly params: Readonly<Record<string, string>>
}

/** Answers an HTTP request by a function: streamed where the app has enabled it, else whole. */
export async function runHttpFunction(app: FunctionApp, call: HttpCall, log: WorkerLog): Promise<void> {
  const { request, response, url, trigger, params } = call
  const { HttpUri } = app.capabilities
  const traceContext = traceContextOf(request)
  if (HttpUri === undefined) {
    const data = { http: await toRpc(request, url, params) }
    const { http } = await invoke(app, trigger.registered, { data, traceContext }, log)
    return writeResult(response, http)
  }
  const invocationId = randomUUID()
  const headers = platformHeaders(request)
  const decoded = decodedHeaders(headers)
  const metadata: Record<string, RpcBody> = { Headers: { json: JSON.stringify(decoded) } }
  for (const [name, value] of Object.entries(params)) metadata[name] = { string: value }
  const data = { http: { url: url.href, method: request.method ?? 'GET', headers: decoded, params } }
  const run = () => invoke(app, trigger.registered, { invocationId, data, metadata, traceContext }, log)
  await forward({ request, response, url, to: HttpUri, headers, invocationId, invoke: run })
}

const PARENT = /^00-([\da-f]{32})-[\da-f]{16}-[\da-f]{2}$/

/**
 * What the worker is told of the trace. With Application Insights on, the host begins a span of its own for each request, in the
 * client's trace or a new one; in its classic mode it leaves the flag unset that says whether it is recorded.
 */
function traceContextOf({ headers: { traceparent, tracestate } }: IncomingMessage) {
  const parent = typeof traceparent === 'string' ? traceparent : undefined
  const own = process.env.APPLICATIONINSIGHTS_CONNECTION_STRING ? hostSpan(parent) : parent
  return {
    ...(own === undefined ? {} : { traceParent: own }),
    ...(typeof tracestate === 'string' ? { traceState: tracestate } : {}),
  }
}

function hostSpan(parent = ''): string {
  const [, traceId = randomBytes(16).toString('hex')] = PARENT.exec(parent) ?? []
  return `00-${traceId}-${randomBytes(8).toString('hex')}-00`
}
