import * as z from 'zod'
import { isConsumerId, isTokenConsumer } from '../auth/index.ts'
import { closestName } from '../policy/index.ts'
import type { Managed } from './action.ts'
import { ManageFault } from './fault.ts'

/* The names by which an operator says what is meant. */

const CONSUMER_RULE =
  "1 to 128 letters, digits and . _ @ : -, beginning with a letter or digit, such as 'alice' or 'team-7'"

/** A consumer that has keys. */
export const consumerId = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._@:-]{0,127}$/, CONSUMER_RULE)
  .refine(isConsumerId, CONSUMER_RULE)

/** A consumer of a key, or of a token: `~issuer~…`, each part percent-encoded. */
export const callerId = z
  .string()
  .max(1_024)
  .regex(/^(?:[A-Za-z0-9][A-Za-z0-9._@:-]{0,127}|~[A-Za-z0-9._%~!'()*-]+)$/, CONSUMER_RULE)

export const KEY_ID = /^[0-9A-Za-z]{12}$/

export const keyId = z
  .string()
  .regex(KEY_ID, 'must be the id of a key, 12 letters and digits, and never the key itself')
  .describe("The key's id: what stands between tg_ and the next _.")

/** A name of the policy's. */
export const policyName = z.string().min(1).max(64)

const MOST_NAMED = 20

/** @throws ManageFault where the policy in force has no such plan, with what it has */
export function checkPlan(plan: string, { policy: { plans } }: Pick<Managed, 'policy'>): void {
  if (plans.has(plan)) return
  const meant = closestName(plan, plans.keys())
  const hint = meant === undefined ? '' : ` Did you mean ${meant}?`
  const names = [...plans.keys()]
  const more = names.length > MOST_NAMED ? ` and ${names.length - MOST_NAMED} more` : ''
  const known = `${names.slice(0, MOST_NAMED).join(', ')}${more}`
  throw invalid('plan', `'plan': the policy has no plan '${plan}'. It has: ${known}.${hint}`, 422)
}

export function invalid(field: string | undefined, message: string, status: 400 | 422 = 400): ManageFault {
  return new ManageFault(message, { code: 'invalid_request', status, field })
}

export function unknownConsumer(id: string): ManageFault {
  const message = isTokenConsumer(id)
    ? `Of '${id}' nothing is kept here but what it used: its plan and groups are in its token. GET /api/me with that token tells its limits.`
    : `There is no consumer '${id}'. It is made with its first key: keys create --consumer ${id}`
  return new ManageFault(message, { code: 'not_found', status: 404, field: undefined })
}

export function unknownKey(id: string): ManageFault {
  return new ManageFault(`There is no key ${id}. See: keys list`, { code: 'not_found', status: 404 })
}
