import type { RequestHeaders } from '../pipeline/index.ts'
import { looksLikeToken } from './tokens/index.ts'

/** Headers whose value is a key: ours, Azure OpenAI's and API Management's. */
const KEY_HEADERS = ['x-api-key', 'api-key', 'ocp-apim-subscription-key'] as const

/**
 * The credentials that a request carries, each once: as `X-API-KEY`, `api-key`, `Ocp-Apim-Subscription-Key` or
 * `Authorization: Bearer`. Of a header that came twice, both.
 */
export function credentialsFrom(headers: RequestHeaders): readonly string[] {
  const found: string[] = []
  for (const name of KEY_HEADERS) addParts(found, headers.get(name), KEY)
  addParts(found, headers.get('authorization'), BEARER)
  return found
}

/** Tokens are taken from `Authorization: Bearer` alone. */
export function tokensFrom(headers: RequestHeaders): readonly string[] {
  const found: string[] = []
  addParts(found, headers.get('authorization'), BEARER)
  return found.filter(looksLikeToken)
}

const KEY = /^\s*(\S+)\s*$/
const BEARER = /^\s*Bearer +(\S+)\s*$/i

function addParts(found: string[], value: string | null, form: RegExp): void {
  if (value === null) return
  for (const part of value.includes(',') ? value.split(',') : [value]) {
    const credential = form.exec(part)?.[1]
    if (credential !== undefined && !found.includes(credential)) found.push(credential)
  }
}
