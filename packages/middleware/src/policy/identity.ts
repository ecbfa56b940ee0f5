import * as z from 'zod'
import { pathText } from './document.ts'
import { documentUrl } from './egress.ts'
import { interned } from './interned.ts'
import { closestName, listText, name } from './names.ts'

/* Who may call by a token in place of a key: whose tokens count, where the keys that sign them are, and what their roles give. */

/** One issuer of tokens, as the policy trusts it. */
export interface Issuer {
  /** In the ids of its callers: another name makes other consumers. */
  readonly name: string
  /** An Entra token is its tenant's and an object's, any other a subject's. */
  readonly kind: 'entra' | 'oidc'
  /** What `iss` may be: an Entra tenant has one for each version of tokens. */
  readonly issuers: readonly string[]
  /** One of these must stand in `aud`. */
  readonly audiences: readonly string[]
  /** Of an Entra issuer: the only one whose tokens, and keys, count. */
  readonly tenant?: string
  /** Where its keys are, or where the document is that says so. */
  readonly keys: { readonly jwks: string } | { readonly discovery: string }
  /** The claim that holds a caller's roles. */
  readonly rolesClaim: string
  /** Each role that gives a plan. Of several that a caller has, the first decides. */
  readonly roles: readonly { readonly role: string; readonly plan: string }[]
  /** Whether its `MANAGING_ROLES` see and change what can be managed. */
  readonly manages: boolean
}

export interface Identity {
  readonly issuers: readonly Issuer[]
}

/** Roles that give no plan, but a scope. */
export const MANAGING_ROLES = { read: 'Tollgate.Read', admin: 'Tollgate.Admin' } as const

const MOST_ISSUERS = 16
const MOST_AUDIENCES = 16
const LONGEST_URL = 500

const GUID = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i

const AUDIENCE = 'must be the audience of tokens, such as api://00000000-0000-0000-0000-000000000000, or a list of them'
const oneAudience = z.string().min(1, AUDIENCE).max(LONGEST_URL, AUDIENCE)
const audience = z
  .union([oneAudience, z.array(oneAudience).min(1).max(MOST_AUDIENCES)], { error: AUDIENCE })
  .describe(
    'Whom the tokens are made for: one of these must stand in aud. api://<id> and <id> of an Entra app are the same.',
  )

const entra = z.strictObject({
  tenant: z
    .string()
    .regex(GUID, "must be the tenant's id, 00000000-0000-0000-0000-000000000000 (az account show --query tenantId)")
    .describe("The tenant's id. Tokens of version 1 and 2 count."),
  audience,
  authority: z
    .string()
    .max(LONGEST_URL)
    .optional()
    .describe(
      'Where the tenant signs its callers in (https://login.microsoftonline.com); https://login.microsoftonline.us, https://login.partner.microsoftonline.cn.',
    ),
})

const oidc = z.strictObject({
  issuer: z.string().min(1).max(LONGEST_URL).describe('Exactly as the tokens have it in iss.'),
  audience,
  jwks: z
    .string()
    .max(LONGEST_URL)
    .optional()
    .describe('Where its keys are. Absent: where <issuer>/.well-known/openid-configuration says.'),
  rolesClaim: z
    .string()
    .min(1)
    .max(128)
    .optional()
    .describe('The claim that holds the roles, a text or a list of them (roles).'),
})

const anyIssuer = {
  name: name.describe('Its name in the ids of its callers: ~name~…. Another name makes other consumers.'),
  roles: z
    .record(z.string().min(1).max(256), name)
    .optional()
    .describe(
      'The plan that each role gives. Of several that a caller has, the first decides; one that has none is refused.',
    ),
  manage: z
    .boolean()
    .optional()
    .describe(
      `Whether its roles ${MANAGING_ROLES.read} and ${MANAGING_ROLES.admin} see and change what can be managed (entra: true, oidc: false).`,
    ),
}

const issuer = z.union([z.strictObject({ entra, ...anyIssuer }), z.strictObject({ oidc, ...anyIssuer })], {
  error: 'must be an issuer such as {name: corp, entra: {tenant: …, audience: …}, roles: {Tollgate.Pro: pro}}',
})

export const identitySchema = z
  .strictObject({
    issuers: z.array(issuer).min(1).max(MOST_ISSUERS).describe('Whose tokens let callers in.'),
  })
  .describe('Who may call by a token in place of a key.')

type IdentityDocument = z.infer<typeof identitySchema>
type IssuerDocument = z.infer<typeof issuer>

const AUTHORITY = 'https://login.microsoftonline.com'
/** Of version 1 tokens; in all other clouds as in the usual one. */
const V1_ISSUERS: Readonly<Record<string, string>> = {
  'https://login.partner.microsoftonline.cn': 'https://sts.chinacloudapi.cn',
  'https://login.chinacloudapi.cn': 'https://sts.chinacloudapi.cn',
}
const V1_ISSUER = 'https://sts.windows.net'

/**
 * Whose tokens count, resolved; what is wrong goes to `faults`, with its path.
 *
 * @param plans that the policy has
 * @param hosts that may be on addresses that are not public
 */
export function resolveIdentity(
  document: IdentityDocument | undefined,
  plans: ReadonlyMap<string, unknown>,
  hosts: readonly string[],
  faults: string[],
): Identity | undefined {
  if (document === undefined) return undefined
  const issuers = document.issuers.map((each, index) => {
    faults.push(...roleFaults(each, index, plans), ...urlFaults(each, `identity.issuers[${index}]`, hosts))
    return resolveIssuer(each)
  })
  faults.push(...meetingFaults(issuers))
  return interned({ issuers })
}

function resolveIssuer(document: IssuerDocument): Issuer {
  const { name } = document
  const roles = Object.entries(document.roles ?? {}).map(([role, plan]) => ({ role, plan }))
  if ('entra' in document) {
    const { audience, authority = AUTHORITY } = document.entra
    const tenant = document.entra.tenant.toLowerCase()
    const at = withoutSlash(authority)
    return {
      name,
      kind: 'entra',
      issuers: [`${at}/${tenant}/v2.0`, `${V1_ISSUERS[at] ?? V1_ISSUER}/${tenant}/`],
      audiences: [...new Set(listOf(audience).flatMap(sameApp))],
      tenant,
      keys: { jwks: `${at}/${tenant}/discovery/v2.0/keys` },
      rolesClaim: 'roles',
      roles,
      manages: document.manage ?? true,
    }
  }
  const { issuer, audience, jwks, rolesClaim = 'roles' } = document.oidc
  const discovery = `${withoutSlash(issuer)}/.well-known/openid-configuration`
  return {
    name,
    kind: 'oidc',
    issuers: [issuer],
    audiences: [...new Set(listOf(audience))],
    keys: jwks === undefined ? { discovery } : { jwks },
    rolesClaim,
    roles,
    manages: document.manage ?? false,
  }
}

/** An app's tokens of version 2 have its id alone as their audience, those of version 1 mostly its address. */
function sameApp(audience: string): readonly string[] {
  const id = audience.replace(/^api:\/\//, '')
  return GUID.test(id) ? [audience, id, `api://${id}`] : [audience]
}

function listOf(audience: string | readonly string[]): readonly string[] {
  return typeof audience === 'string' ? [audience] : audience
}

function withoutSlash(url: string): string {
  return url.replace(/\/+$/, '')
}

function roleFaults({ roles = {} }: IssuerDocument, index: number, plans: ReadonlyMap<string, unknown>): string[] {
  return Object.entries(roles).flatMap(([role, plan]) => {
    const at = pathText(['identity', 'issuers', index, 'roles', role])
    if (Object.values<string>(MANAGING_ROLES).includes(role)) {
      return [`${at}: the role gives the scope to manage, and no plan. Give the plan to another role.`]
    }
    if (plans.has(plan)) return []
    const meant = closestName(plan, plans.keys())
    const hint = meant === undefined ? '' : ` Did you mean '${meant}'?`
    return [`${at}: there is no plan '${plan}' under plans.${hint} There are: ${listText(plans.keys())}.`]
  })
}

function urlFaults(document: IssuerDocument, path: string, hosts: readonly string[]): string[] {
  const urls =
    'entra' in document
      ? { 'entra.authority': document.entra.authority ?? AUTHORITY }
      : { 'oidc.issuer': document.oidc.issuer, 'oidc.jwks': document.oidc.jwks }
  return Object.entries(urls).flatMap(([field, url]) => {
    // Where the keys have an address of their own, nobody asks the issuer's.
    if (url === undefined || (field === 'oidc.issuer' && urls['oidc.jwks'] !== undefined)) return []
    const fault = documentUrl(url, hosts)
    return fault === undefined ? [] : [`${path}.${field}: ${fault}`]
  })
}

/** Names, and what tells issuers apart whose tokens have the same `iss`. */
function meetingFaults(issuers: readonly Issuer[]): string[] {
  return issuers.flatMap((each, index) => {
    const before = issuers.slice(0, index)
    const path = `identity.issuers[${index}]`
    const namesake = before.findIndex(({ name }) => name === each.name)
    if (namesake >= 0) return [`${path}.name: issuers[${namesake}] is called '${each.name}' too. Rename one.`]
    const twin = before.find(
      ({ issuers, audiences }) =>
        issuers.some((iss) => each.issuers.includes(iss)) && audiences.some((aud) => each.audiences.includes(aud)),
    )
    if (twin === undefined) return []
    return [
      `${path}: a token of '${each.name}' can't be told from one of '${twin.name}': they have an issuer and an audience in common. Give each its own audience, or make one of both.`,
    ]
  })
}
