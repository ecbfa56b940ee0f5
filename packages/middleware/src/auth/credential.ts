import type { RequestHeaders } from '../pipeline/index.ts'

/**
 * The key that a request carries: `X-API-KEY`, `api-key` (Azure OpenAI's header) or `Authorization: Bearer`,
 * the first present in that order.
 */
export function credentialFrom(headers: RequestHeaders): string | undefined {
  const bearer = /^Bearer +(\S+) *$/i.exec(headers.get('authorization') ?? '')?.[1]
  return headers.get('x-api-key')?.trim() || headers.get('api-key')?.trim() || bearer
}
