import { isObject, type JsonObject, jsonObject, own } from './json.ts'

/*
 * What App Service's own authentication (EasyAuth) says of a caller that it has let in: `X-MS-CLIENT-PRINCIPAL`. It is believed only
 * where the operator says so, since anybody can send such a header to an app without that.
 */

/** What the platform says of who called, base64-encoded JSON. */
export const PRINCIPAL_HEADER = 'x-ms-client-principal'

const LONGEST_PRINCIPAL = 16 * 1024
const MOST_CLAIMS = 500

/** Claims by the names that tokens have for them. */
const NAMES: Readonly<Record<string, string>> = {
  'http://schemas.microsoft.com/identity/claims/tenantid': 'tid',
  'http://schemas.microsoft.com/identity/claims/objectidentifier': 'oid',
  'http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier': 'sub',
  'http://schemas.microsoft.com/ws/2008/06/identity/claims/role': 'roles',
}

/** The claims that the header tells, as a token would have them: one of several values is a list. `undefined` where it can't be read. */
export function principalClaims(header: string): JsonObject | undefined {
  if (header.length > LONGEST_PRINCIPAL) return undefined
  const principal = jsonObject(Buffer.from(header, 'base64').toString('utf8'))
  const listed = principal && own(principal, 'claims')
  if (principal === undefined || !Array.isArray(listed) || listed.length > MOST_CLAIMS) return undefined
  const roles = own(principal, 'role_typ')
  const claims = new Map<string, Set<string>>()
  for (const each of listed) {
    if (!isObject(each)) return undefined
    const { typ, val } = each
    if (typeof typ !== 'string' || typeof val !== 'string') return undefined
    const name = typ === roles ? 'roles' : (NAMES[typ] ?? typ)
    const values = claims.get(name) ?? new Set()
    claims.set(name, values.add(val))
  }
  return Object.fromEntries(
    Array.from(claims, ([name, values]) => [name, values.size === 1 ? [...values][0] : [...values]]),
  )
}
