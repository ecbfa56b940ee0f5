import type { RequestHeaders } from '../pipeline/index.ts'
import { looksLikeToken } from './tokens/index.ts'

/** Headers whose value is a key: ours, Azure OpenAI's and API Management's. */
const KEY_HEADERS = ['x-api-key', 'api-key', 'ocp-apim-subscription-key'] as const

/** Parts of one header. There are four headers for a key, and no client or proxy sends one so often. */
const MOST_PARTS = 16

/**
 * The credentials that a request carries, each once: as `X-API-KEY`, `api-key`, `Ocp-Apim-Subscription-Key` or
 * `Authorization: Bearer`. Of a header that came twice, both. `undefined` where one of them has more parts than are read: what
 * nobody has read is no word of who calls.
 */
export function credentialsFrom(headers: RequestHeaders): readonly string[] | undefined {
  const found: string[] = []
  for (const name of KEY_HEADERS) if (!addParts(found, headers.get(name), KEY)) return undefined
  return addParts(found, headers.get('authorization'), BEARER) ? found : undefined
}

/** Tokens are taken from `Authorization: Bearer` alone. */
export function tokensFrom(headers: RequestHeaders): readonly string[] {
  const found: string[] = []
  addParts(found, headers.get('authorization'), BEARER)
  return found.filter(looksLikeToken)
}

const KEY = /^\s*(\S+)\s*$/
const BEARER = /^\s*Bearer +(\S+)\s*$/i

/** `false` where there are more parts than are read. */
function addParts(found: string[], value: string | null, form: RegExp): boolean {
  if (value === null) return true
  const parts = value.includes(',') ? value.split(',', MOST_PARTS + 1) : [value]
  for (const part of parts) {
    const credential = form.exec(part)?.[1]
    if (credential !== undefined && !found.includes(credential)) found.push(credential)
  }
  return parts.length <= MOST_PARTS
}
