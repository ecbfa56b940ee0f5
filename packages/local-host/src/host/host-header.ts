import { isIP } from 'node:net'
import { hostname } from 'node:os'

/**
 * Whether a request's `Host` names this machine. A page that a browser was lured to can point its own domain name at
 * 127.0.0.1 and then read what a local server answers (DNS rebinding); its requests still bear that name.
 */
export function isOwnHost(header: string | undefined, boundTo: string): boolean {
  // A host and a port, and nothing that would make a path, a query or a user of what is joined to it.
  const name = header === undefined || /[/\\?#@\s]/.test(header) ? undefined : URL.parse(`http://${header}`)?.hostname
  if (name === undefined) return false
  const bare = name.replace(/^\[|\]$/g, '')
  if (bare === 'localhost' || bare === boundTo.toLowerCase()) return true
  // A name can be rebound, an address can't.
  if (isIP(bare) !== 0) return true
  return !isLoopbackAddress(boundTo) && bare === hostname().toLowerCase()
}

export function isLoopbackAddress(address: string): boolean {
  return address === 'localhost' || address === '::1' || address.startsWith('127.')
}
