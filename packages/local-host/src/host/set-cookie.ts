import type { RpcCookie } from '../worker/core-types.ts'

const SAME_SITE = { none: undefined, lax: 'Lax', strict: 'Strict', explicitNone: 'None' }

/** A cookie of the worker's as a `Set-Cookie` header's value (RFC 6265, section 4.1). The value is encoded. */
export function setCookie(cookie: RpcCookie): string {
  const { name, value, domain, path, expires, secure, httpOnly, sameSite, maxAge } = cookie
  const site = SAME_SITE[sameSite ?? 'none']
  const parts = [
    `${name}=${encodeURIComponent(value)}`,
    maxAge && `Max-Age=${maxAge.value}`,
    domain && `Domain=${domain.value}`,
    path && `Path=${path.value}`,
    expires && `Expires=${new Date(Number(expires.value.seconds) * 1000).toUTCString()}`,
    httpOnly?.value && 'HttpOnly',
    secure?.value && 'Secure',
    site && `SameSite=${site}`,
  ]
  return parts.filter(Boolean).join('; ')
}
