import { type Group, type Identity, type Issuer, isGroupValue, MANAGING_ROLES } from '../../policy/index.ts'
import { isObject, type JsonObject, own } from './json.ts'

/* What claims come to, once they are believed: who calls, on which plan, in which groups, and what it may manage. */

/** As much of a policy as says what a token gives. */
export interface TokenPolicy {
  readonly identity?: Identity
  readonly groups?: readonly Pick<Group, 'name' | 'claim'>[]
}

/** A caller by a token. */
export interface TokenCaller {
  /** `~issuer~tenant~object` of Entra, else `~issuer~subject`: each part percent-encoded. */
  readonly id: string
  /** '' where none of its roles gives one. */
  readonly plan: string
  readonly groups?: Readonly<Record<string, string>>
}

export interface KnownToken {
  readonly caller: TokenCaller
  readonly scopes: readonly ('call' | 'read' | 'admin')[]
  readonly issuer: Issuer
  /** Why it may not call, where nobody can tell which group it is in; else `undefined`. */
  readonly unclear: string | undefined
}

/** Characters. What 255 characters of ASCII come to always fits. */
const LONGEST_ID = 1_024
const LONGEST_SUBJECT = 255

/** Whether a text is the id of a caller by a token, which no key's consumer can have. */
export function isTokenConsumer(text: string): boolean {
  return text.length <= LONGEST_ID && /^(?:~(?:[\w.-]|%[\dA-F]{2})+){2,3}$/.test(text)
}

/** Who calls by these claims of this issuer; a text where it can't be told, which says why. */
export function callerOf(claims: JsonObject, issuer: Issuer, { groups = [] }: TokenPolicy): KnownToken | string {
  const id = issuer.kind === 'entra' ? objectId(claims, issuer) : subjectId(claims, issuer)
  if (!id.startsWith('~')) return id
  const held = textsOf(valueAt(claims, issuer.rolesClaim))
  const plan = issuer.roles.find(({ role }) => held.includes(role))?.plan
  const isAdmin = issuer.manages && held.includes(MANAGING_ROLES.admin)
  const mayRead = isAdmin || (issuer.manages && held.includes(MANAGING_ROLES.read))
  const found = groupsOf(claims, groups)
  return {
    caller: { id, plan: plan ?? '', ...(found.groups && { groups: found.groups }) },
    scopes: [
      ...(plan === undefined ? [] : (['call'] as const)),
      ...(mayRead ? (['read'] as const) : []),
      ...(isAdmin ? (['admin'] as const) : []),
    ],
    issuer,
    unclear: found.unclear,
  }
}

/** Whether it lets an application in: what Entra tells an application of who signed in to it (an ID token) names no client. */
export function isAccessToken(claims: JsonObject, { kind }: Issuer): boolean {
  return kind !== 'entra' || typeof own(claims, 'azp') === 'string' || typeof own(claims, 'appid') === 'string'
}

/** By its tenant and its object: what it is called, and `sub`, which each app is told differently, say nothing of who it is. */
function objectId(claims: JsonObject, { name, tenant }: Issuer): string {
  const [tid, oid] = [own(claims, 'tid'), own(claims, 'oid')]
  if (typeof tid !== 'string' || tid.toLowerCase() !== tenant) return 'The token is of no tenant that may call (tid).'
  if (typeof oid !== 'string' || oid === '' || oid.length > LONGEST_SUBJECT || !oid.isWellFormed()) {
    return 'The token says of no object that it is its own (oid).'
  }
  return idOf([name, tid.toLowerCase(), oid.toLowerCase()])
}

function subjectId(claims: JsonObject, { name }: Issuer): string {
  const subject = own(claims, 'sub')
  if (typeof subject !== 'string' || subject === '' || subject.length > LONGEST_SUBJECT || !subject.isWellFormed()) {
    return `The token has no subject of 1 to ${LONGEST_SUBJECT} characters (sub).`
  }
  return idOf([name, subject])
}

function idOf(parts: readonly string[]): string {
  const id = parts.map((part) => `~${encoded(part)}`).join('')
  return id.length > LONGEST_ID ? 'The token’s subject is too long.' : id
}

/** Only letters, digits, `-`, `.` and `_` stay as they are. */
function encoded(part: string): string {
  return encodeURIComponent(part).replace(
    /[!'()*~]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}

/** A claim by its name, or, where it has none, by its way: `realm_access.roles`. */
function valueAt(claims: JsonObject, name: string): unknown {
  if (Object.hasOwn(claims, name) || !name.includes('.')) return own(claims, name)
  return name.split('.').reduce<unknown>((value, part) => (isObject(value) ? own(value, part) : undefined), claims)
}

function textsOf(value: unknown): readonly string[] {
  if (typeof value === 'string') return [value]
  return Array.isArray(value) ? value.filter((each) => typeof each === 'string') : []
}

interface FoundGroups {
  readonly groups?: Readonly<Record<string, string>>
  readonly unclear: string | undefined
}

function groupsOf(claims: JsonObject, groups: NonNullable<TokenPolicy['groups']>): FoundGroups {
  const found: [name: string, value: string][] = []
  for (const { name, claim } of groups) {
    if (claim === undefined) continue
    if (isElsewhere(claims, claim)) {
      const unclear = `The group '${name}' can't be told: the caller is in too many for the token to list them in '${claim}'. Let the issuer put in fewer: those assigned to the application alone.`
      return { unclear }
    }
    const value = groupValue(valueAt(claims, claim))
    if (value === undefined) continue
    if (!isGroupValue(value)) {
      return {
        unclear: `The group '${name}' can't be told: the token's claim '${claim}' is not one text of 1 to 128 characters.`,
      }
    }
    found.push([name, value])
  }
  return { unclear: undefined, ...(found.length > 0 && { groups: Object.fromEntries(found) }) }
}

/** `undefined` where there is none; '' where there is something that is no value. */
function groupValue(claim: unknown): string | undefined {
  const value = Array.isArray(claim) && claim.length < 2 ? claim[0] : claim
  if (value === undefined || value === null) return undefined
  if (typeof value === 'string') return value
  return Number.isSafeInteger(value) ? String(value) : ''
}

/** Entra names the claims that have no room in the token, and, for some callers, says so of groups alone. */
function isElsewhere(claims: JsonObject, claim: string): boolean {
  const names = own(claims, '_claim_names')
  if (isObject(names) ? Object.hasOwn(names, claim) : typeof names === 'string' && names.includes(`"${claim}"`))
    return true
  return claim === 'groups' && ![undefined, false, 'false'].includes(own(claims, 'hasgroups') as boolean | undefined)
}
