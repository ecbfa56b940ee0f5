import { type Handler, jsonResponse, type Refusal } from '../pipeline/index.ts'
import type { Identity } from '../policy/index.ts'

/*
 * Who signs callers in, for clients that find out by themselves (RFC 9728). The platform serves the app under its route prefix, so the
 * document is there and not at the host's root; each 401 says where.
 */

const RESOURCE = '/api'
export const METADATA_PATH = `${RESOURCE}/.well-known/oauth-protected-resource`

/** `GET /api/.well-known/oauth-protected-resource`, open to anyone. 404 where keys alone let callers in. */
export function protectedResource(): Handler<{ readonly policy: { readonly identity?: Identity } }> {
  return async function protectedResource({ method, url }, { policy: { identity } }) {
    if (method !== 'GET' && method !== 'HEAD') return WRONG_METHOD
    if (identity === undefined) return NO_ISSUERS
    const entra = identity.issuers.filter(({ kind }) => kind === 'entra')
    const document = {
      resource: `${url.origin}${RESOURCE}`,
      resource_name: 'Tollgate',
      // Of an Entra tenant the first, which is of version 2.
      authorization_servers: [...new Set(identity.issuers.map(({ issuers }) => issuers[0]))],
      bearer_methods_supported: ['header'],
      ...(entra.length > 0 && { scopes_supported: [...new Set(entra.flatMap(defaultScope))] }),
    }
    return jsonResponse(200, document, { 'cache-control': 'no-store' })
  }
}

/** What an application asks Entra for. */
function defaultScope({ audiences }: Identity['issuers'][number]): readonly string[] {
  return audiences.filter((audience) => audience.includes('://')).map((audience) => `${audience}/.default`)
}

const WRONG_METHOD: Refusal = {
  kind: 'refusal',
  code: 'method_not_allowed',
  status: 405,
  message: 'This path takes GET alone.',
  headers: { allow: 'GET, HEAD' },
}
const NO_ISSUERS: Refusal = {
  kind: 'refusal',
  code: 'not_found',
  status: 404,
  message: 'Callers are let in by API keys alone: the policy names no issuer of tokens.',
}
