import { OperatorError } from '../pipeline/index.ts'
import type { Narrowing } from '../policy/index.ts'
import type { KeyRecord } from './consumer.ts'
import { generateKey, parseKey } from './key.ts'
import { DEFAULT_SCOPES, type Scope } from './scope.ts'
import type { ConsumerStore } from './store.ts'

/** A new key in clear. It is shown once and can't be had again. */
export interface IssuedKey {
  readonly key: string
  /** The key's public id. */
  readonly id: string
  readonly consumer: string
  readonly plan: string
  readonly scopes: readonly Scope[]
}

export interface IssueKeyOptions {
  readonly consumer: string
  /** The consumer's plan: needed for a new consumer; for a known one it must be the plan it has. */
  readonly plan: string | undefined
  /** The plan of a new consumer where none is named. */
  readonly defaultPlan: string | undefined
  /** The plans that the policy has: a key on any other would be refused by the gateway. */
  readonly plans: readonly string[]
  /** What the key may do: `call` by default. */
  readonly scopes?: readonly Scope[]
  /** Milliseconds since 1970. */
  readonly now: number
  /** Milliseconds since 1970; without, the key doesn't expire. */
  readonly expiresAt?: number | undefined
  /** What the key may of what the plan allows; all of that by default. Held against no policy here. */
  readonly grant?: Narrowing | undefined
  /** The groups that its requests are in; none by default. */
  readonly groups?: Readonly<Record<string, string>> | undefined
}

/** A request for a key that can't be met; the message names the fix. */
export class IssueKeyError extends OperatorError {
  override readonly name = 'IssueKeyError'
}

/**
 * Makes a key for a consumer, and the consumer if it is new.
 *
 * @throws IssueKeyError when the consumer is on another plan, or on one that the policy lacks, or new and without one.
 */
export async function issueKey(store: ConsumerStore, options: IssueKeyOptions): Promise<IssuedKey> {
  const plan = await planOf(store, options)
  if (!options.plans.includes(plan)) {
    const known = options.plans.join(', ')
    throw new IssueKeyError(
      `Consumer '${options.consumer}' is on plan '${plan}', which the policy doesn't have. It has: ${known}.`,
    )
  }
  const { scopes = DEFAULT_SCOPES, expiresAt, grant, groups } = options
  const { key, record } = await addNewKey(store, {
    consumer: options.consumer,
    scopes,
    disabled: false,
    createdAt: options.now,
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(grant === undefined || Object.values(grant).every((part) => part === undefined) ? {} : { grant }),
    ...(groups === undefined || Object.keys(groups).length === 0 ? {} : { groups }),
  })
  return { key, id: record.publicId, consumer: options.consumer, plan, scopes }
}

/** A key with a secret of its own, in clear, and what the store keeps of it. @throws IssueKeyError */
export async function addNewKey(
  store: ConsumerStore,
  fields: Omit<KeyRecord, 'publicId' | 'digest'>,
): Promise<{ readonly key: string; readonly record: KeyRecord }> {
  const key = generateKey()
  const parsed = parseKey(key)
  if (parsed === undefined) throw new Error('A generated key did not parse')
  const record = { ...fields, ...parsed }
  if (await store.addKey(record)) return { key, record }
  throw new IssueKeyError('The new key met an id in use. Nothing was changed; run the command again.')
}

async function planOf(store: ConsumerStore, { consumer, plan, defaultPlan }: IssueKeyOptions): Promise<string> {
  const wanted = plan ?? defaultPlan
  const existing = await store.findConsumer(consumer)
  if (existing === undefined) {
    if (wanted === undefined) throw new IssueKeyError(`Consumer '${consumer}' is new: name its plan with --plan.`)
    if (await store.addConsumer({ id: consumer, plan: wanted, disabled: false })) return wanted
  }
  const current = existing ?? (await store.findConsumer(consumer))
  if (current === undefined) throw new IssueKeyError(`Consumer '${consumer}' was removed meanwhile.`)
  if (plan !== undefined && plan !== current.plan) {
    throw new IssueKeyError(`Consumer '${consumer}' is on plan '${current.plan}', not '${plan}'. Leave --plan out.`)
  }
  return current.plan
}
