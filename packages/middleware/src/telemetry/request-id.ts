import { randomUUID } from 'node:crypto'
import type { RequestHeaders } from '../pipeline/index.ts'

const ACCEPTABLE = /^[\x21-\x7e]{1,128}$/

/** The caller's `X-Request-ID` if it is 1 to 128 visible ASCII characters, else a new UUID. */
export function requestIdFrom(headers: RequestHeaders): string {
  const offered = headers.get('x-request-id')
  return offered !== null && ACCEPTABLE.test(offered) ? offered : randomUUID()
}
