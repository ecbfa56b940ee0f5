import type { IncomingMessage, ServerResponse } from 'node:http'

/** `Host.CORS` and `Host.CORSCredentials` of local.settings.json. */
export interface Cors {
  /** Origins, or `*` alone for any. */
  readonly origins: readonly string[]
  readonly credentials: boolean
}

/**
 * Lets pages of the allowed origins read what is answered (Fetch standard, "CORS protocol").
 *
 * @returns whether the request was a preflight, and is answered.
 */
export function applyCors({ method, headers }: IncomingMessage, response: ServerResponse, cors: Cors): boolean {
  const { origin } = headers
  const any = cors.origins.includes('*')
  if (!any) response.setHeader('vary', 'Origin')
  const allowed = origin !== undefined && (any || cors.origins.includes(origin))
  if (allowed) {
    response.setHeader('access-control-allow-origin', any ? '*' : origin)
    if (cors.credentials) response.setHeader('access-control-allow-credentials', 'true')
  }
  const wantedMethod = headers['access-control-request-method']
  if (method !== 'OPTIONS' || origin === undefined || wantedMethod === undefined) return false
  if (allowed) {
    response.setHeader('access-control-allow-methods', wantedMethod)
    const wantedHeaders = headers['access-control-request-headers']
    if (wantedHeaders !== undefined) response.setHeader('access-control-allow-headers', wantedHeaders)
  }
  response.writeHead(204).end()
  return true
}
