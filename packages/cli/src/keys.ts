import { hash } from 'node:crypto'
import {
  createKey as createKeyAction,
  disableKey,
  enableKey,
  expireKey as expireKeyAction,
  findKeys,
  isConsumerId,
  listKeys as listKeysAction,
  type ManageAction,
  type ManageInput,
  type ManageOutput,
  parseKey,
  revokeKey as revokeKeyAction,
  rotateKey as rotateKeyAction,
  SCOPES,
  type Scope,
  type ShownKey,
  showKey as showKeyAction,
} from '@tollgate/middleware'
import { columns } from './columns.ts'
import { CommandFault } from './command-fault.ts'
import { type Done, managing } from './managing.ts'
import { moment } from './moment.ts'
import type { Place } from './place.ts'

export interface KeysCreateOptions {
  readonly consumer: string
  readonly plan?: string
  readonly scope?: readonly string[]
  readonly expires?: string
  readonly model?: readonly string[]
  readonly zone?: readonly string[]
  readonly route?: readonly string[]
  /** An amount, and its window. */
  readonly usd?: string
  readonly per?: string
  /** `name=value`, each. */
  readonly group?: readonly string[]
  readonly json?: boolean
}

/** An instance may have looked a key up this long ago, and still go by it. */
export const SEEN_BY = 'The gateway goes by it within 30 seconds.'

/** Makes a key, and its consumer if that is new; the text to print holds the key, once. */
export async function createKey(options: KeysCreateOptions, place: Place): Promise<string> {
  const { consumer, plan, model, zone, route } = options
  checkConsumerId(consumer, '--consumer')
  const scopes = options.scope?.map(scopeOf)
  const expiresAt = endOf(options.expires)
  const budget = budgetOf(options)
  const groups = groupsOf(options.group)
  const { output, storage } = await managingKeys(
    createKeyAction,
    {
      consumer,
      ...(plan === undefined ? {} : { plan }),
      ...(scopes === undefined ? {} : { scopes }),
      ...(expiresAt === undefined ? {} : { expiresAt }),
      ...(model === undefined ? {} : { models: [...model] }),
      ...(zone === undefined ? {} : { zones: [...zone] }),
      ...(route === undefined ? {} : { routes: [...route] }),
      ...(budget === undefined ? {} : { budget }),
      ...(groups === undefined ? {} : { groups }),
    },
    place,
  )
  const { expiresAt: until, ...issued } = output
  if (options.json) return JSON.stringify({ ...issued, ...(until === null ? {} : { expiresAt: until }) })
  const narrowed = mayText({
    models: model ?? null,
    zones: zone ?? null,
    routes: route ?? null,
    budget: budget ?? null,
    groups: {},
  })
  const inGroups = groupsText(groups ?? {})
  return [
    `${kindText(issued.scopes)} for consumer '${issued.consumer}' on plan '${issued.plan}' (id ${issued.id})${untilText(until)}. It is shown only now:`,
    '',
    `  ${issued.key}`,
    '',
    ...(narrowed === '' ? [] : [`Of what the plan allows, it may use: ${narrowed}.`, '']),
    ...(inGroups === '' ? [] : [`Its requests are in ${inGroups}.`, '']),
    inStorage(storage),
  ].join('\n')
}

/** Makes a key in the place of another, which ends after a grace; the text to print holds the new key, once. */
export async function rotateKey(
  key: string,
  options: { readonly grace?: string; readonly expires?: string; readonly json?: boolean },
  place: Place,
): Promise<string> {
  const id = idOf(key)
  const graceSeconds = graceOf(options.grace)
  const expiresAt = endOf(options.expires)
  const { output, storage } = await managingKeys(
    rotateKeyAction,
    {
      key: id,
      ...(graceSeconds === undefined ? {} : { graceSeconds }),
      ...(expiresAt === undefined ? {} : { expiresAt }),
    },
    place,
  )
  if (options.json) return JSON.stringify(output)
  const { replaces } = output
  return [
    `${kindText(output.scopes)} for consumer '${output.consumer}' (id ${output.id}), in the place of key ${id}${untilText(output.expiresAt)}. It is shown only now:`,
    '',
    `  ${output.key}`,
    '',
    replaces.endsAt === null
      ? `Key ${id} could not be told to end: it still works, unless keys list says otherwise. End it: keys expire ${id} --at 7d`
      : `Key ${id} ends at ${replaces.endsAt}. ${SEEN_BY} What was spent stays spent: both count against the same budgets.`,
    '',
    inStorage(storage),
  ].join('\n')
}

/** In seconds. */
function graceOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (text === '0') return 0
  const now = Date.now()
  const seconds = Math.floor((moment('--grace', text, now) - now) / 1_000)
  if (seconds < 0) throw new CommandFault(`--grace: '${text}' is past.`)
  return seconds
}

function endOf(text: string | undefined): string | undefined {
  if (text === undefined) return undefined
  const now = Date.now()
  const at = moment('--expires', text, now)
  if (at <= now) throw new CommandFault(`--expires: '${text}' is past.`)
  return new Date(at).toISOString()
}

function budgetOf({ usd, per }: KeysCreateOptions): ManageInput<typeof createKeyAction>['budget'] {
  if (usd === undefined && per === undefined) return undefined
  if (usd === undefined) throw new CommandFault('--per: belongs to a budget. Say how much: --usd 20 --per month')
  if (!/^\d{1,7}(?:\.\d{1,9})?$/.test(usd)) throw new CommandFault(`--usd: '${usd}' is no amount such as 20 or 0.5.`)
  if (per === undefined) throw new CommandFault(`--usd: say over which window: --usd ${usd} --per month`)
  const window = WINDOWS.find((each) => each === per)
  if (window === undefined) throw new CommandFault(`--per: '${per}' is none of ${WINDOWS.join(', ')}.`)
  return { usd: Number(usd), per: window }
}

const WINDOWS = ['minute', 'hour', 'day', 'month'] as const

function groupsOf(pairs: readonly string[] | undefined): Record<string, string> | undefined {
  if (pairs === undefined) return undefined
  const groups = new Map<string, string>()
  for (const pair of pairs) {
    const [, name, value] = /^([^=]+)=(.+)$/s.exec(pair) ?? []
    if (name === undefined || value === undefined) {
      throw new CommandFault(`--group: '${pair}' is no name and value such as cost-centre=4711.`)
    }
    if (groups.has(name)) throw new CommandFault(`--group: '${name}' stands there twice. A key is in one of each.`)
    groups.set(name, value)
  }
  return Object.fromEntries(groups)
}

const CALL: Scope = 'call'

function kindText(scopes: readonly string[]): string {
  return scopes.length === 1 && scopes[0] === CALL ? 'Key' : `Key of scope '${scopes.join(' ')}'`
}

function untilText(until: string | null): string {
  return until === null ? '' : `, until ${until}`
}

function scopeOf(text: string): Scope {
  const scope = SCOPES.find((known) => known === text)
  if (scope !== undefined) return scope
  throw new CommandFault(`--scope: '${text}' is none of ${SCOPES.join(', ')}.`)
}

export async function listKeys(options: { consumer?: string; json?: boolean }, place: Place): Promise<string> {
  const { consumer } = options
  const { output, storage } = await managingKeys(listKeysAction, consumer === undefined ? {} : { consumer }, place)
  if (options.json) return JSON.stringify(output.keys)
  const none = 'There are no keys. Make one: npm run tollgate -- keys create --consumer alice'
  return `${keyTable(output.keys, none)}\n\n${inStorage(storage)}`
}

/** An operator may have several storages: a list says which one it is from, a new key which one it is in. */
export function inStorage(storage: string): string {
  return `Storage: ${storage}`
}

export function keyTable(keys: readonly ShownKey[], none: string): string {
  if (keys.length === 0) return none
  const rows = keys.map((key) => [
    key.id,
    key.consumer,
    key.scopes.join(' ') || 'none',
    key.state,
    key.createdAt,
    key.expiresAt ?? 'never',
    usedText(key),
    restText(key),
  ])
  return columns([['ID', 'CONSUMER', 'SCOPE', 'STATE', 'MADE', 'EXPIRES', 'LAST USED', 'ONLY'], ...rows])
}

const HOUR_MS = 3_600_000

/** It is written down once an hour: the last use is within the hour after. */
function usedText({ lastUsedAt }: ShownKey): string {
  if (lastUsedAt === null) return 'not seen'
  if (Date.now() - Date.parse(lastUsedAt) < HOUR_MS) return 'within the hour'
  return `hour from ${lastUsedAt.slice(0, 16)}Z`
}

function restText(key: ShownKey): string {
  return [mayText(key), key.replacedBy === null ? '' : `replaced by ${key.replacedBy}`].filter(Boolean).join('; ')
}

/** What a key narrows; '' of one that narrows nothing. */
function mayText({
  models,
  zones,
  routes,
  budget,
  groups,
}: Readonly<
  Record<'models' | 'zones' | 'routes', readonly string[] | null> & Pick<ShownKey, 'budget' | 'groups'>
>): string {
  const listed = (what: string, names: readonly string[] | null) =>
    names === null ? [] : [`${what} ${names.join(', ') || 'none'}`]
  const inGroups = groupsText(groups)
  return [
    ...listed('models', models),
    ...listed('zones', zones),
    ...listed('routes', routes),
    ...(budget === null ? [] : [`${budget.usd} USD per ${budget.per}`]),
    ...(inGroups === '' ? [] : [`in ${inGroups}`]),
  ].join('; ')
}

function groupsText(groups: ShownKey['groups']): string {
  return Object.entries(groups)
    .map(([name, value]) => `${name}=${value}`)
    .join(', ')
}

export async function showKey(key: string, options: { readonly json?: boolean }, place: Place): Promise<string> {
  const { output, storage } = await managingKeys(showKeyAction, { key: idOf(key) }, place)
  return options.json ? JSON.stringify(output) : `${keyTable([output], '')}\n\n${inStorage(storage)}`
}

/** Whose key this is, whole or its beginning. No part of it but its id is sent anywhere or shown. */
export async function findKey(text: string, options: { readonly json?: boolean }, place: Place): Promise<string> {
  const { beginning, isWhole, digest } = partsOf(text)
  const { output, storage } = await managingKeys(
    findKeys,
    { beginning, ...(digest === undefined ? {} : { digest }) },
    place,
  )
  if (options.json) return JSON.stringify({ checksum: isWhole ? digest !== undefined : null, ...output })
  if (output.keys.length === 0) {
    throw new CommandFault(
      `${isWhole && digest === undefined ? `${WRONG_CHECKSUM} And there` : 'There'} is no key whose id begins with ${beginning}, or none any more: one that is revoked leaves nothing behind. Looked in ${storage}.`,
    )
  }
  return [
    ...(isWhole && digest === undefined ? [WRONG_CHECKSUM] : []),
    ...output.keys.map(foundText),
    ...(output.more ? ['There are more. Give more of it.'] : []),
    inStorage(storage),
  ].join('\n\n')
}

const WRONG_CHECKSUM =
  'The checksum is wrong: as it stands this is no key, and lets nobody in. A character of it is wrong, missing, or one too many.'

function foundText(key: ManageOutput<typeof findKeys>['keys'][number]): string {
  const { id, consumer, plan, state } = key
  const owner = key.consumerDisabled ? `${consumer}' (disabled)` : `${consumer}'`
  const onPlan = plan === null ? ', who is not there any more' : ` on plan '${plan}'`
  const only = restText(key)
  return [
    `Key ${id} is of consumer '${owner}${onPlan}: ${state}, of scope '${key.scopes.join(' ') || 'none'}', ` +
      `made ${key.createdAt}, expires ${key.expiresAt ?? 'never'}, last used: ${usedText(key)}.`,
    ...(only === '' ? [] : [`Only: ${only}.`]),
    ...(key.isThatKey === false
      ? ['But the secret is another one: what you have has its id, and lets nobody in.']
      : []),
    `If others have it, remove it: keys revoke ${id}. ${
      key.replacedBy == null
        ? `To have a new one first: keys rotate ${id} --grace 0`
        : `A new one is there already: ${key.replacedBy}.`
    }`,
  ].join('\n')
}

/** What may be told of a key, of whatever one has of it. */
function partsOf(text: string): { readonly beginning: string; readonly isWhole: boolean; readonly digest?: string } {
  const given = text.trim()
  const [, own, rest = '', id] =
    /^(?:tg_([0-9A-Za-z]{1,12})(?![0-9A-Za-z])(.*)|([0-9A-Za-z]{1,12}))$/s.exec(given) ?? []
  const beginning = own ?? id
  if (beginning === undefined) {
    // Whatever it is, it may be a secret, so it is not repeated.
    throw new CommandFault('<key>: neither a key nor the beginning of one, such as tg_4fK2. See: keys list')
  }
  const isWhole = /^_[0-9A-Za-z]{49,}$/.test(rest)
  return isWhole && parseKey(given) !== undefined
    ? { beginning, isWhole, digest: hash('sha256', given, 'base64url') }
    : { beginning, isWhole }
}

export async function revokeKey(key: string, place: Place): Promise<string> {
  const { output } = await managingKeys(revokeKeyAction, { key: idOf(key) }, place)
  return `Key ${output.id} is removed for good. ${SEEN_BY}`
}

export async function setKeyDisabled(key: string, disabled: boolean, place: Place): Promise<string> {
  const { output } = await managingKeys(disabled ? disableKey : enableKey, { key: idOf(key) }, place)
  return `Key ${output.id} is ${disabled ? 'disabled' : 'enabled'}. ${SEEN_BY}`
}

export async function expireKey(key: string, options: { at: string }, place: Place): Promise<string> {
  const at = new Date(moment('--at', options.at, Date.now())).toISOString()
  const { output } = await managingKeys(expireKeyAction, { key: idOf(key), at }, place)
  return `Key ${output.id} expires at ${output.expiresAt}. ${SEEN_BY}`
}

/** A key is named by its id; whoever has only the key itself may give that. */
export function idOf(text: string): string {
  const id = parseKey(text)?.publicId ?? text
  if (/^[0-9A-Za-z]{12}$/.test(id)) return id
  // What was meant to be a key may be one but for a typo, so it is not repeated.
  throw new CommandFault('<key>: neither the id of a key, 12 letters and digits, nor a whole key. See: keys list')
}

/** By which option a field of an action is given. */
const OPTIONS: Readonly<Record<string, string>> = {
  key: '<key>',
  beginning: '<key>',
  consumer: '--consumer',
  plan: '--plan',
  scopes: '--scope',
  expiresAt: '--expires',
  models: '--model',
  zones: '--zone',
  routes: '--route',
  budget: '--usd',
  groups: '--group',
  graceSeconds: '--grace',
}

function managingKeys<Action extends ManageAction>(
  action: Action,
  input: ManageInput<Action>,
  place: Place,
): Promise<Done<ManageOutput<Action>>> {
  return managing(action, input, place, { named: OPTIONS })
}

export function checkConsumerId(text: string, option: string): void {
  if (isConsumerId(text)) return
  throw new CommandFault(
    `${option}: 1 to 128 letters, digits and . _ @ : -, beginning with a letter or digit, such as 'alice' or 'team-7'.`,
  )
}
