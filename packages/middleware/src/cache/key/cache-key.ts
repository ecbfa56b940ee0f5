import type { Digest } from '../../operations/index.ts'

/** Raised when the key's shape or meaning changes, so that old entries are never found by a new version. */
const KEY_VERSION = 2

export interface KeyParts {
  /** Who may find completions by this key: `consumer:<id>`, `plan:<name>` or `shared`. */
  readonly scope: string
  /** Of all purges that concern the key. */
  readonly generation: string
  /** Of `questionDigest`. */
  readonly question: string
}

/** 43 characters of base64url, by which nobody who lacks the digest's secret can confirm a guessed question. */
export function cacheKey({ scope, generation, question }: KeyParts, digest: Digest): string {
  return digest(JSON.stringify([KEY_VERSION, scope, generation, question]))
}
