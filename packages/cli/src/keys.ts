import {
  isConsumerId,
  issueKey,
  type KeyChange,
  type KeyRecord,
  parseKey,
  SCOPES,
  type Scope,
} from '@tollgate/middleware'
import { columns } from './columns.ts'
import { CommandFault } from './command-fault.ts'
import { withConsumers } from './consumer-directory.ts'
import { policyHere } from './managing.ts'
import { moment } from './moment.ts'
import type { Place } from './place.ts'
import { checkPlan } from './plan-option.ts'

export interface KeysCreateOptions {
  readonly consumer: string
  readonly plan?: string
  readonly scope?: string
  readonly expires?: string
  readonly json?: boolean
}

/** An instance may have looked a key up this long ago, and still go by it. */
export const SEEN_BY = 'The gateway goes by it within 30 seconds.'

/** Makes a key, and its consumer if that is new; the text to print holds the key, once. */
export async function createKey(options: KeysCreateOptions, place: Place): Promise<string> {
  const { consumer, plan, expires } = options
  checkConsumerId(consumer, '--consumer')
  const scopes = options.scope === undefined ? {} : { scopes: [scopeOf(options.scope)] }
  const now = Date.now()
  const expiresAt = expires === undefined ? undefined : moment('--expires', expires, now)
  if (expiresAt !== undefined && expiresAt <= now) throw new CommandFault(`--expires: '${expires}' is past.`)
  const { plans, defaultPlan } = await policyHere(place)
  if (plan !== undefined) checkPlan(plan, plans)
  const [issued, storage] = await withConsumers(place, async (store, where) => [
    await issueKey(store, { consumer, plan, defaultPlan, plans: [...plans.keys()], now, expiresAt, ...scopes }),
    where,
  ])
  const until = expiresAt === undefined ? undefined : new Date(expiresAt).toISOString()
  if (options.json) return JSON.stringify({ ...issued, ...(until === undefined ? {} : { expiresAt: until }) })
  const limit = until === undefined ? '' : `, until ${until}`
  const kind = issued.scopes.includes(CALL) ? 'Key' : `Key of scope '${issued.scopes.join(' ')}'`
  return [
    `${kind} for consumer '${issued.consumer}' on plan '${issued.plan}' (id ${issued.id})${limit}. It is shown only now:`,
    '',
    `  ${issued.key}`,
    '',
    inStorage(storage),
  ].join('\n')
}

const CALL: Scope = 'call'

function scopeOf(text: string): Scope {
  const scope = SCOPES.find((known) => known === text)
  if (scope !== undefined) return scope
  throw new CommandFault(`--scope: '${text}' is none of ${SCOPES.join(', ')}.`)
}

export async function listKeys(options: { consumer?: string; json?: boolean }, place: Place): Promise<string> {
  const [keys, storage] = await withConsumers(place, async (store, where) => [
    await Array.fromAsync(store.listKeys({ consumer: options.consumer })),
    where,
  ])
  const shown = keys.toSorted((a, b) => a.consumer.localeCompare(b.consumer) || a.createdAt - b.createdAt).map(show)
  if (options.json) return JSON.stringify(shown)
  const none = 'There are no keys. Make one: npm run tollgate -- keys create --consumer alice'
  return `${keyTable(shown, none)}\n\n${inStorage(storage)}`
}

/** An operator may have several storages: a list says which one it is from, a new key which one it is in. */
export function inStorage(storage: string): string {
  return `Storage: ${storage}`
}

export interface ShownKey {
  readonly id: string
  readonly consumer: string
  readonly scopes: readonly string[]
  readonly state: 'active' | 'disabled' | 'expired'
  readonly createdAt: string
  readonly expiresAt: string | null
}

export function show(key: KeyRecord): ShownKey {
  const { publicId, consumer, scopes, disabled, createdAt, expiresAt } = key
  const expired = expiresAt !== undefined && expiresAt <= Date.now()
  return {
    id: publicId,
    consumer,
    scopes,
    state: disabled ? 'disabled' : expired ? 'expired' : 'active',
    createdAt: new Date(createdAt).toISOString(),
    expiresAt: expiresAt === undefined ? null : new Date(expiresAt).toISOString(),
  }
}

export function keyTable(keys: readonly ShownKey[], none: string): string {
  if (keys.length === 0) return none
  const rows = keys.map(({ id, consumer, scopes, state, createdAt, expiresAt }) => [
    id,
    consumer,
    scopes.join(' ') || 'none',
    state,
    createdAt,
    expiresAt ?? 'never',
  ])
  return columns([['ID', 'CONSUMER', 'SCOPE', 'STATE', 'MADE', 'EXPIRES'], ...rows])
}

export async function revokeKey(key: string, place: Place): Promise<string> {
  const id = idOf(key)
  if (!(await withConsumers(place, (store) => store.removeKey(id)))) throw unknownKey(id)
  return `Key ${id} is removed for good. ${SEEN_BY}`
}

export async function setKeyDisabled(key: string, disabled: boolean, place: Place): Promise<string> {
  const id = await updateKey(key, { disabled }, place)
  return `Key ${id} is ${disabled ? 'disabled' : 'enabled'}. ${SEEN_BY}`
}

export async function expireKey(key: string, options: { at: string }, place: Place): Promise<string> {
  const expiresAt = moment('--at', options.at, Date.now())
  const id = await updateKey(key, { expiresAt }, place)
  return `Key ${id} expires at ${new Date(expiresAt).toISOString()}. ${SEEN_BY}`
}

async function updateKey(key: string, change: KeyChange, place: Place): Promise<string> {
  const id = idOf(key)
  if (!(await withConsumers(place, (store) => store.updateKey(id, change)))) throw unknownKey(id)
  return id
}

/** A key is named by its id; whoever has only the key itself may give that. */
function idOf(text: string): string {
  const id = parseKey(text)?.publicId ?? text
  if (/^[0-9A-Za-z]{12}$/.test(id)) return id
  // What was meant to be a key may be one but for a typo, so it is not repeated.
  throw new CommandFault('<key>: neither the id of a key, 12 letters and digits, nor a whole key. See: keys list')
}

function unknownKey(id: string): CommandFault {
  return new CommandFault(`There is no key ${id}. See: keys list`)
}

export function checkConsumerId(text: string, option: string): void {
  if (isConsumerId(text)) return
  throw new CommandFault(
    `${option}: 1 to 128 letters, digits and . _ @ : -, beginning with a letter or digit, such as 'alice' or 'team-7'.`,
  )
}
