import * as z from 'zod'
import { type Consumer, isConsumerId, isTokenConsumer, type KeyRecord } from '../auth/index.ts'
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

/** What is wrong with a plan's name, with the plans that there are; `undefined` where there is one. */
export function missingPlanText(plan: string, plans: ReadonlyMap<string, unknown>): string | undefined {
  if (plans.has(plan)) return undefined
  const meant = closestName(plan, plans.keys())
  const hint = meant === undefined ? '' : ` Did you mean ${meant}?`
  const names = [...plans.keys()]
  const more = names.length > MOST_NAMED ? ` and ${names.length - MOST_NAMED} more` : ''
  const known = `${names.slice(0, MOST_NAMED).join(', ')}${more}`
  return `the policy has no plan '${plan}'. It has: ${known}.${hint}`
}

/** @throws ManageFault where the policy in force has no such plan */
export function checkPlan(plan: string, { policy: { plans } }: Pick<Managed, 'policy'>): void {
  const fault = missingPlanText(plan, plans)
  if (fault !== undefined) throw invalid('plan', `'plan': ${fault}`, 422)
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

/** A consumer whose plan is gone. */
export function offPolicy({ id, plan }: Pick<Consumer, 'id' | 'plan'>): ManageFault {
  const message =
    `Consumer '${id}' is on plan '${plan}', which the policy does not have. ` +
    `Move it: consumers set ${id} --plan <plan>`
  return invalid(undefined, message, 422)
}

/** @throws ManageFault where there is none */
export async function knownKey(
  id: string,
  { consumers, signal }: Pick<Managed, 'consumers' | 'signal'>,
): Promise<KeyRecord> {
  const key = await consumers.findKey(id, signal)
  if (key === undefined) throw unknownKey(id)
  return key
}

export function unknownKey(id: string): ManageFault {
  return new ManageFault(`There is no key ${id}. See: keys list`, { code: 'not_found', status: 404 })
}

/**
 * The same input, of which exactly one of these fields is to be given: told as any other fault of an input, before anything is read or
 * written down.
 *
 * @param say what is to be said, such as `Say what to purge`
 */
export function exactlyOne<Input extends z.ZodObject>(
  input: Input,
  fields: readonly (keyof Input['shape'] & string)[],
  say: string,
): Input {
  const named = fields.map((field) => `\`${field}\``)
  return input.superRefine((given: Readonly<Record<string, unknown>>, { addIssue }) => {
    const found = fields.filter((field) => given[field] !== undefined).map((field) => `\`${field}\``)
    if (found.length === 1) return
    const message =
      found.length === 0
        ? `${say}: ${named.slice(0, -1).join(', ')} or ${named.at(-1)}`
        : `${found.join(' and ')} exclude each other`
    addIssue({ code: 'custom', message })
  })
}
