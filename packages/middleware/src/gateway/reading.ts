import { describeFault, isOutage, type Log, type Refusal } from '../pipeline/index.ts'

/* What is the same for all that is read of usage over HTTP. */

export const WRONG_METHOD: Refusal = {
  kind: 'refusal',
  code: 'method_not_allowed',
  status: 405,
  message: 'This path takes GET alone.',
  headers: { allow: 'GET' },
}

/**
 * The refusal of one for whom the tables could not be read: it is logged why.
 *
 * @param seconds after which it is to come back
 * @throws the error that is no outage
 */
export function notRead(error: unknown, log: Log, seconds: number): Refusal {
  if (!isOutage(error)) throw error
  log('error', 'usage not read', describeFault(error))
  return {
    kind: 'refusal',
    code: 'store_unavailable',
    status: 503,
    message: 'The usage could not be read. Please try again, or ask for a shorter time.',
    headers: { 'retry-after': String(seconds) },
  }
}
