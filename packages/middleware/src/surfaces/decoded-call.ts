import { hash } from 'node:crypto'
import { bodyFrom, bodyOf, type Call } from '../operations/index.ts'
import { type GatewayRequest, isRefusal, type Refusal } from '../pipeline/index.ts'
import type { Surface } from './surface.ts'

/** A request in the words of the call onion. */
export interface DecodedCall {
  readonly call: Call
  /** What stands for the prompt in logs: hashed, never written. */
  readonly prompt: string
}

/** A request, as its surface reads its body. @param bytes of the body, not to be changed */
export function decodedCall(
  surface: Surface,
  bytes: Uint8Array,
  request: GatewayRequest,
  options: { readonly maxOutputTokens: number },
): DecodedCall | Refusal {
  const body = bodyFrom(bytes)
  if (body === 'no JSON') return INVALID_JSON
  // What is no object has no fields, and the surface says which one it misses.
  const decoded = surface.decode(body === 'no object' ? NO_FIELDS : body, request, options)
  if (isRefusal(decoded)) return decoded
  const { prompt, ...asked } = decoded
  const { name, operation, route } = surface
  const { signal, headers } = request
  let digested: string | undefined
  const bodyDigest = () => {
    // With the surface's name: another one may decode the same bytes to another call.
    digested ??= `${name} ${hash('sha256', bytes, 'base64url')}`
    return digested
  }
  return { call: { operation, route, signal, headers, bodyDigest, ...asked }, prompt }
}

const NO_FIELDS = bodyOf({})

const INVALID_JSON: Refusal = { kind: 'refusal', code: 'invalid_json', status: 400, message: 'Invalid JSON format' }
