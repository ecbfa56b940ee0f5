import { type Handler, type HttpResponse, jsonResponse, type Refusal } from '../pipeline/index.ts'
import { type Entry, trace } from '../telemetry/index.ts'

/** Of all that the manage API answers. */
export const MANAGE_HEADERS = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' }

/**
 * The way in of those who manage. Its line is called `manage request`, so that queries which count requests for a model don't count it.
 *
 * @param handler found for each request, so that a configuration fault is answered like any other
 */
export function manageEntry(handler: () => Handler): Entry {
  return trace({ refuse: manageRefusal, handler, event: 'manage request' })
}

function manageRefusal({ status, code, message, param, headers }: Refusal): HttpResponse {
  const body = { error: message, code, ...(param === undefined ? {} : { param }) }
  return jsonResponse(status, body, { ...headers, ...MANAGE_HEADERS })
}
