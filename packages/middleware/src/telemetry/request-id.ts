import { randomUUID } from 'node:crypto'

const ACCEPTABLE = /^[\x21-\x7e]{1,128}$/

/** The caller's `X-Request-ID` if it is 1 to 128 visible ASCII characters, else a new UUID. */
export function requestIdFrom(headers: Headers): string {
  const offered = headers.get('x-request-id')
  return offered !== null && ACCEPTABLE.test(offered) ? offered : randomUUID()
}
