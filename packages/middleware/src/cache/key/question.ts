import { hash } from 'node:crypto'
import canonicalize from 'canonicalize'
import type { ChatBody } from '../../operations/index.ts'

/**
 * Fields that don't change the answer. All others are part of the question, those that we have never heard of too:
 * a list of fields to include would serve wrong answers the day the API gains a parameter.
 */
export const WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  'stream',
  'stream_options',
  'user',
  'safety_identifier',
  'metadata',
  'store',
  'service_tier',
  'prompt_cache_key',
  'prompt_cache_retention',
  'timeout',
])

/** What an answer depends on, but for who asks. */
export interface Question {
  readonly route: string
  /** Which model of which service answers. */
  readonly target: string
  /** What was done to the prompt on its way, and in which version. */
  readonly transforms: string
  /** The body as it is forwarded. */
  readonly body: ChatBody
}

/** Deeper than any request's schema; what is deeper would only cost stack. */
const MAX_DEPTH = 64

/**
 * The digest (SHA-256) of a question as RFC 8785 canonical JSON: the order of fields and white space don't matter, and no
 * part can run into the next. It has no secret in it, so it must not leave the process.
 *
 * `undefined` for a body without a canonical form: a lone surrogate; a whole number beyond 2^53, which two texts can share;
 * a body that is nested too deeply.
 */
export function questionDigest({ route, target, transforms, body }: Question): string | undefined {
  const effective = Object.fromEntries(Object.entries(body).filter(([field]) => !WITHOUT_EFFECT.has(field)))
  if (!isExact(effective, MAX_DEPTH)) return undefined
  try {
    const canonical = canonicalize({ route, target, transforms, body: effective })
    return canonical === undefined ? undefined : hash('sha256', canonical, 'base64url')
  } catch {
    return undefined
  }
}

/** Whether a JSON value stands for no other text than its own, as far as numbers go. */
function isExact(value: unknown, depth: number): boolean {
  if (typeof value === 'number') return !Number.isInteger(value) || Number.isSafeInteger(value)
  if (typeof value !== 'object' || value === null) return true
  if (depth === 0) return false
  for (const name in value) {
    if (!isExact((value as Record<string, unknown>)[name], depth - 1)) return false
  }
  return true
}
