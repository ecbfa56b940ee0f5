import { type Handler, type HttpResponse, jsonResponse, type Refusal } from '../pipeline/index.ts'
import { type Entry, trace } from '../telemetry/index.ts'

/**
 * The way in of those who read usage or metrics. Its line is called `read`, so that queries which count requests for a model
 * don't count it, and nothing of it is reported to the ledger.
 *
 * @param handler found for each request, so that a configuration fault is answered like any other
 */
export function readEntry(handler: () => Handler): Entry {
  return trace({ refuse: readRefusal, handler, event: 'read' })
}

/** Errors as `/api/generate` has them, and the parameter at fault. */
function readRefusal({ status, code, message, param, headers }: Refusal): HttpResponse {
  const body = { error: message, code, ...(param === undefined ? {} : { param }) }
  return jsonResponse(status, body, { ...headers, 'cache-control': 'no-store' })
}
