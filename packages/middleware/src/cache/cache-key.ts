import canonicalize from 'canonicalize'
import type { ChatBody, Digest } from '../completion/index.ts'

/** Raised when the key's shape or meaning changes, so that old entries are never found by a new version. */
const KEY_VERSION = 1

/**
 * Fields that don't change the answer. All others are part of the key, those that we have never heard of too:
 * a list of fields to include would serve wrong answers the day the API gains a parameter.
 */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  'stream',
  'stream_options',
  'user',
  'safety_identifier',
  'metadata',
  'store',
  'service_tier',
  'prompt_cache_key',
])

export interface KeyParts {
  /** Whose completions may be found by this key: a consumer's id. */
  readonly scope: string
  readonly route: string
  /** Which model of which service answers. */
  readonly target: string
  /** The body as it is forwarded. */
  readonly body: ChatBody
}

/**
 * The digest of all that an answer depends on, as RFC 8785 canonical JSON: the order of fields and white space don't
 * matter, and no part can run into the next.
 *
 * @throws for a body that has no canonical form (a lone surrogate).
 */
export function cacheKey({ scope, route, target, body }: KeyParts, digest: Digest): string {
  const effective = Object.fromEntries(Object.entries(body).filter(([field]) => !WITHOUT_EFFECT.has(field)))
  const canonical = canonicalize({ version: KEY_VERSION, scope, route, target, body: effective })
  if (canonical === undefined) throw new TypeError('The body has no canonical form')
  return digest(canonical)
}
