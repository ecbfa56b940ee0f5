import * as z from 'zod'
import {
  type Consumer,
  type ConsumerStore,
  familyOf,
  IssueKeyError,
  issueKey,
  type KeyChange,
  type KeyRecord,
  keyGroups,
  reissueKey,
  SCOPES,
  sameDigest,
} from '../auth/index.ts'
import { closestName, listText, narrowing, narrowingFault } from '../policy/index.ts'
import { type Managed, type ManagedPolicy, manageAction } from './action.ts'
import { ManageFault } from './fault.ts'
import { checkPlan, consumerId, invalid, KEY_ID, keyId, knownKey, unknownKey } from './names.ts'

/* Keys: their making, their ends, and whose they are. A whole key is told once, to who made it, and is taken nowhere. */

/** What a table can hold, and more. */
const [EARLIEST, LATEST] = [Date.UTC(2000, 0), Date.UTC(9999, 0)]
const MOMENT_RULE = 'must be a moment of the years 2000 to 9998 as ISO 8601 has it, such as 2027-01-31T00:00:00Z'

const moment = z.iso
  .datetime({ offset: true, error: MOMENT_RULE })
  .refine((text) => Date.parse(text) >= EARLIEST && Date.parse(text) < LATEST, MOMENT_RULE)

const names = (field: keyof typeof narrowing.shape) =>
  z.array(z.string()).nullable().describe(`${narrowing.shape[field].description} null: all.`)

const shownKey = z.strictObject({
  id: z.string(),
  consumer: z.string(),
  scopes: z.array(z.string()),
  state: z.enum(['active', 'disabled', 'expired']),
  createdAt: z.string(),
  expiresAt: z.string().nullable().describe('null: never.'),
  lastUsedAt: z.string().nullable().describe('It was used last within the hour after this. null: not that anyone saw.'),
  models: names('models'),
  zones: names('zones'),
  routes: names('routes'),
  budget: narrowing.shape.budget.unwrap().nullable(),
  groups: z.record(z.string(), z.string()),
  replacedBy: z.string().nullable().describe('The id of the key that took its place.'),
  family: z
    .string()
    .describe('The id of the first of the keys that took each other’s place: what they may spend is counted together.'),
})

export type ShownKey = z.output<typeof shownKey>

/** As it is told, without what could prove it. @param now milliseconds since 1970 */
export function showKeyRecord(key: KeyRecord, now: number): ShownKey {
  const { publicId, consumer, scopes, disabled, createdAt, expiresAt, usedAt, grant, groups } = key
  const isExpired = expiresAt !== undefined && expiresAt <= now
  return {
    id: publicId,
    consumer,
    scopes: [...scopes],
    state: disabled ? 'disabled' : isExpired ? 'expired' : 'active',
    createdAt: isoText(createdAt),
    expiresAt: expiresAt === undefined ? null : isoText(expiresAt),
    lastUsedAt: usedAt === undefined ? null : isoText(usedAt),
    models: listOf(grant?.models),
    zones: listOf(grant?.zones),
    routes: listOf(grant?.routes),
    budget: grant?.budget ?? null,
    groups: { ...groups },
    replacedBy: key.replacedBy ?? null,
    family: familyOf(key),
  }
}

export const listKeys = manageAction({
  id: 'listKeys',
  summary: 'All keys, or those of a consumer: by consumer, the oldest first. None is shown itself.',
  method: 'GET',
  path: '/keys',
  refuses: [],
  input: z.strictObject({ consumer: consumerId.optional() }),
  output: z.strictObject({ keys: z.array(shownKey) }),
  async run({ consumer }, { consumers, wallClock, signal }) {
    const keys = await Array.fromAsync(consumers.listKeys({ consumer }, signal))
    return { keys: keys.toSorted(byConsumerAndAge).map((key) => showKeyRecord(key, wallClock())) }
  },
})

export const showKey = manageAction({
  id: 'showKey',
  summary: 'A key, without what could prove it.',
  method: 'GET',
  path: '/keys/{key}',
  refuses: [404],
  input: z.strictObject({ key: keyId }),
  output: shownKey,
  async run({ key }, managed) {
    return showKeyRecord(await knownKey(key, managed), managed.wallClock())
  },
})

/** The shortest beginning of an id that is looked for, in characters. */
const LEAST_BEGINNING = 4
/** Of keys that begin alike, as many are told. */
const MOST_FOUND = 20

export const findKeys = manageAction({
  id: 'findKeys',
  summary: 'Whose a key is that was found somewhere, by the beginning of its id.',
  method: 'GET',
  path: '/key-ids/{beginning}',
  refuses: [],
  input: z.strictObject({
    beginning: z
      .string()
      .regex(
        new RegExp(`^[0-9A-Za-z]{${LEAST_BEGINNING},12}$`),
        `must be the ${LEAST_BEGINNING} to 12 letters and digits after tg_, and nothing of what follows them, which is secret`,
      )
      .describe("The id of a key, or how it begins. Not the key's secret."),
    digest: z
      .string()
      .regex(/^[\w-]{43}$/, 'must be a SHA-256 as base64url')
      .optional()
      .describe('The SHA-256 of the whole key, as base64url: whether it is really that one.'),
  }),
  output: z.strictObject({
    keys: z.array(
      z.strictObject({
        ...shownKey.shape,
        plan: z.string().nullable().describe("Its consumer's plan. null: there is no such consumer any more."),
        consumerDisabled: z.boolean(),
        isThatKey: z.boolean().nullable().describe('Whether the digest is its own. null: none was given.'),
      }),
    ),
    more: z.boolean().describe(`Whether there are more than these ${MOST_FOUND}.`),
  }),
  async run({ beginning, digest }, { consumers, wallClock, signal }) {
    const found: KeyRecord[] = []
    for await (const key of beginningWith(consumers, beginning, signal)) {
      found.push(key)
      if (found.length > MOST_FOUND) break
    }
    const keys = []
    for (const key of found.slice(0, MOST_FOUND)) {
      const owner: Consumer | undefined = await consumers.findConsumer(key.consumer, signal)
      keys.push({
        ...showKeyRecord(key, wallClock()),
        plan: owner?.plan ?? null,
        consumerDisabled: owner?.disabled ?? false,
        isThatKey: digest === undefined ? null : sameDigest(key.digest, digest),
      })
    }
    return { keys, more: found.length > MOST_FOUND }
  },
})

const newKeyOutput = z.strictObject({
  key: z.string().describe('The key itself. It is told only now.'),
  id: z.string(),
  consumer: z.string(),
  plan: z.string(),
  scopes: z.array(z.string()),
  expiresAt: z.string().nullable(),
})

export const createKey = manageAction({
  id: 'createKey',
  summary: 'Makes a key, and its consumer if that is new. The answer holds the key, once.',
  method: 'POST',
  path: '/keys',
  refuses: [409, 422],
  input: z.strictObject({
    consumer: consumerId.describe('Whose key it is.'),
    plan: z.string().optional().describe("The consumer's plan, if the consumer is new: the policy's default without."),
    scopes: z.array(z.enum(SCOPES)).min(1).max(SCOPES.length).optional().describe('What it may do. Without: call.'),
    expiresAt: moment.optional().describe('Without: never.'),
    ...narrowing.shape,
    groups: keyGroups.optional().describe('The groups of the policy that its requests are in, each with a value.'),
  }),
  output: newKeyOutput,
  async run({ consumer, plan, scopes, expiresAt, groups, ...grant }, { consumers, policy, wallClock }) {
    const now = wallClock()
    const { plans, defaultPlan } = policy
    if (plan !== undefined) checkPlan(plan, { policy })
    const until = expiresAt === undefined ? undefined : future('expiresAt', expiresAt, now)
    const fault = narrowingFault(grant, policy)
    if (fault !== undefined) throw invalid(fault.field, `'${fault.field}': ${fault.rule}`, 422)
    const [narrowed] = Object.entries(grant).find(([, part]) => part !== undefined) ?? []
    if (narrowed !== undefined && scopes?.includes('call') === false) {
      throw invalid(
        narrowed,
        `'${narrowed}': narrows what a key may call, and this one would not be of scope 'call'. Leave it out.`,
      )
    }
    checkGroups(groups, policy)
    const issued = await issuing(() =>
      issueKey(consumers, {
        consumer,
        plan,
        defaultPlan,
        plans: [...plans.keys()],
        ...(scopes === undefined ? {} : { scopes: [...new Set(scopes)] }),
        now,
        expiresAt: until,
        grant,
        groups,
      }),
    )
    return { ...issued, scopes: [...issued.scopes], expiresAt: until === undefined ? null : isoText(until) }
  },
})

const DAY_S = 86_400
/** Of the old key, in seconds. */
const DEFAULT_GRACE_S = 7 * DAY_S
const LONGEST_GRACE_S = 366 * DAY_S

export const rotateKey = manageAction({
  id: 'rotateKey',
  summary:
    'Makes a key of the same rights in the place of another, which ends after a grace. The answer holds the new key, once.',
  method: 'POST',
  path: '/keys/{key}/rotate',
  refuses: [404, 409],
  input: z.strictObject({
    key: keyId,
    graceSeconds: z
      .int()
      .min(0)
      .max(LONGEST_GRACE_S)
      .optional()
      .describe(
        `How long the old key still works (${DEFAULT_GRACE_S}: 7 days). 0: until it is seen, within 30 seconds.`,
      ),
    expiresAt: moment.optional().describe("Of the new key. Without: the old one's own."),
  }),
  output: z.strictObject({
    ...newKeyOutput.omit({ plan: true }).shape,
    replaces: z.strictObject({
      id: z.string(),
      endsAt: z
        .string()
        .nullable()
        .describe('null: the new key is there, and the old one could not be told to end: it stays as it was. End it.'),
    }),
  }),
  async run({ key: id, graceSeconds = DEFAULT_GRACE_S, expiresAt }, managed) {
    const now = managed.wallClock()
    const until = expiresAt === undefined ? undefined : future('expiresAt', expiresAt, now)
    const old = await knownKey(id, managed)
    const { key, record, oldEndsAt } = await issuing(() =>
      reissueKey(managed.consumers, old, { graceMs: graceSeconds * 1_000, now, expiresAt: until }),
    )
    return {
      key,
      id: record.publicId,
      consumer: record.consumer,
      scopes: [...record.scopes],
      expiresAt: record.expiresAt === undefined ? null : isoText(record.expiresAt),
      replaces: { id, endsAt: oldEndsAt === undefined ? null : isoText(oldEndsAt) },
    }
  },
})

export const expireKey = manageAction({
  id: 'expireKey',
  summary: 'Lets a key end at a moment: now, or later, also later than it would have.',
  method: 'POST',
  path: '/keys/{key}/expire',
  refuses: [404],
  input: z.strictObject({ key: keyId, at: moment.optional().describe('Without: now.') }),
  output: shownKey,
  run: ({ key, at }, managed) =>
    changed(key, { expiresAt: at === undefined ? managed.wallClock() : Date.parse(at) }, managed),
})

export const disableKey = manageAction({
  id: 'disableKey',
  summary: 'Refuses a key until it is enabled again.',
  method: 'POST',
  path: '/keys/{key}/disable',
  refuses: [404],
  input: z.strictObject({ key: keyId }),
  output: shownKey,
  run: ({ key }, managed) => changed(key, { disabled: true }, managed),
})

export const enableKey = manageAction({
  id: 'enableKey',
  summary: 'Lets a disabled key in again.',
  method: 'POST',
  path: '/keys/{key}/enable',
  refuses: [404],
  input: z.strictObject({ key: keyId }),
  output: shownKey,
  run: ({ key }, managed) => changed(key, { disabled: false }, managed),
})

export const revokeKey = manageAction({
  id: 'revokeKey',
  summary: 'Removes a key for good: it is refused everywhere within 30 seconds.',
  method: 'DELETE',
  path: '/keys/{key}',
  refuses: [404],
  input: z.strictObject({ key: keyId }),
  output: z.strictObject({ id: z.string() }),
  async run({ key }, { consumers, signal }) {
    if (!(await consumers.removeKey(key, signal))) throw unknownKey(key)
    return { id: key }
  },
})

function listOf(names: readonly string[] | undefined): string[] | null {
  return names === undefined ? null : [...names]
}

async function changed(id: string, change: KeyChange, managed: Managed): Promise<ShownKey> {
  if (!(await managed.consumers.updateKey(id, change, managed.signal))) throw unknownKey(id)
  return showKeyRecord(await knownKey(id, managed), managed.wallClock())
}

async function* beginningWith(store: ConsumerStore, beginning: string, signal: AbortSignal): AsyncGenerator<KeyRecord> {
  if (KEY_ID.test(beginning)) {
    const key = await store.findKey(beginning, signal)
    if (key !== undefined) yield key
    return
  }
  for await (const key of store.listKeys({}, signal)) if (key.publicId.startsWith(beginning)) yield key
}

function checkGroups(groups: Readonly<Record<string, string>> = {}, policy: ManagedPolicy): void {
  const known = (policy.groups ?? []).map(({ name }) => name)
  const missing = Object.keys(groups).find((name) => !known.includes(name))
  if (missing === undefined) return
  const meant = closestName(missing, known)
  const hint = meant === undefined ? '' : ` Did you mean '${meant}'?`
  throw invalid('groups', `'groups': the policy has no group '${missing}'.${hint} There are: ${listText(known)}.`, 422)
}

async function issuing<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof IssueKeyError)) throw error
    throw new ManageFault(error.message, { code: 'conflict', status: 409 })
  }
}

function future(field: string, text: string, now: number): number {
  const at = Date.parse(text)
  if (at <= now) throw invalid(field, `'${field}': '${text}' is past.`)
  return at
}

function byConsumerAndAge(a: KeyRecord, b: KeyRecord): number {
  return a.consumer.localeCompare(b.consumer) || a.createdAt - b.createdAt
}

function isoText(ms: number): string {
  return new Date(ms).toISOString()
}
