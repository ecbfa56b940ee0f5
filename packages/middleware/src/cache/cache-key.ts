import { hash } from 'node:crypto'
import canonicalize from 'canonicalize'
import { LRUCache } from 'lru-cache'
import type { Body, Call } from '../operations/index.ts'
import type { Digest } from '../pipeline/index.ts'
import type { CacheRule } from '../policy/index.ts'

/** Raised when the key's shape or meaning changes, so that old entries are never found by a new version. */
const KEY_VERSION = 3
/** Deeper than any request's schema; what is deeper would only cost stack. */
const MAX_DEPTH = 64
/** Bound on all fingerprints that are remembered, in bytes, of which one takes a kilobyte or so. */
const MAX_MEMO_BYTES = 4 * 1024 * 1024
/** What one takes in memory beside its texts. */
const OVERHEAD_BYTES = 256

/** Who shares completions with this consumer, by a route's rule; in the words that a purge names them by. */
export function scopeOf(
  { scope }: Pick<CacheRule, 'scope'>,
  { id, plan }: { readonly id: string; readonly plan: string },
): string {
  switch (scope) {
    case 'consumer':
      return `consumer:${id}`
    case 'plan':
      return `plan:${plan}`
    case 'shared':
      return 'shared'
  }
}

/** A target that may answer, and the service tier that it is asked for by name, if one is. */
export interface Answerer {
  readonly target: {
    readonly identity: string
    /** Told to callers: whose answer it is. */
    readonly id?: string | undefined
    readonly zone?: string | undefined
  }
  readonly tier?: string | undefined
}

/** What an answer depends on beside who asks, and the operation. */
export interface Fingerprinted {
  readonly route: string
  readonly model: { readonly name: string }
  /** Which models of which services may answer. */
  readonly candidates: readonly Answerer[]
  /** What was done to the prompt on its way, and in which version. */
  readonly transforms: string
  /** The body as it is forwarded. */
  readonly body: Body
}

/** A call, as far as the answer depends on it. */
export type FingerprintedCall = Pick<Call, 'operation' | 'headers'>

/**
 * The digest (SHA-256) of all that an answer depends on, as RFC 8785 canonical JSON: the order of fields and white space don't
 * matter, and no part can run into the next. It has no secret in it, so it must not leave the process.
 *
 * `undefined` for a body without a canonical form: a lone surrogate; a whole number beyond 2^53, which two texts can share;
 * a body that is nested too deeply.
 */
export function fingerprint(call: FingerprintedCall, routed: Fingerprinted): string | undefined {
  const { operation } = call
  const { route, model, candidates, transforms, body } = routed
  const effective = operation.fingerprinted(body)
  if (!isExact(effective, MAX_DEPTH)) return undefined
  try {
    const canonical = canonicalize({
      operation: operation.name,
      route,
      model: model.name,
      targets: candidates.map(placeOf),
      transforms,
      headers: forwardedHeaders(call),
      body: effective,
    })
    return canonical === undefined ? undefined : hash('sha256', canonical, 'base64url')
  } catch {
    return undefined
  }
}

/**
 * Where an answer may come from. The zone is a part of it: what one plan may be answered from is all of its key, so that a stored or
 * a shared answer never comes from a zone that a plan doesn't allow.
 */
function placeOf({ target: { identity, zone }, tier }: Answerer): string | readonly (string | null)[] {
  return zone === undefined && tier === undefined ? identity : [identity, zone ?? null, tier ?? null]
}

function forwardedHeaders({ operation, headers }: FingerprintedCall): readonly (string | null)[] {
  return operation.forwards.map((name) => headers.get(name))
}

/** Whether a JSON value stands for no other text than its own, as far as numbers go. */
function isExact(value: unknown, depth: number): boolean {
  if (typeof value === 'number') return !Number.isInteger(value) || Number.isSafeInteger(value)
  if (typeof value !== 'object' || value === null) return true
  if (depth === 0) return false
  for (const inner of Array.isArray(value) ? value : Object.values(value)) {
    if (!isExact(inner, depth - 1)) return false
  }
  return true
}

export interface KeyParts {
  /** Who may find completions by this key: `consumer:<id>`, `plan:<name>` or `shared`. */
  readonly scope: string
  /** Of all purges that concern the key. */
  readonly purgeVersion: string
  readonly fingerprint: string
}

/** 43 characters of base64url, by which nobody who lacks the digest's secret can confirm a guessed prompt. */
export function cacheKey({ scope, purgeVersion, fingerprint }: KeyParts, digest: Digest): string {
  return digest(JSON.stringify([KEY_VERSION, scope, purgeVersion, fingerprint]))
}

/** The key of one request, by the purges that concern it. */
export type KeyUnder = (purgeVersion: string) => string

/** `undefined` for a body without a canonical form. */
export type KeyOf = (
  call: FingerprintedCall & Pick<Call, 'bodyDigest'>,
  routed: Fingerprinted,
  scope: string,
) => KeyUnder | undefined

/**
 * Remembers fingerprints by the bytes that bodies came in, since the canonical form costs ten times as much as a hash: the
 * same bytes on the same route, for the same model and candidates, by the same transforms and with the same forwarded headers,
 * have the same. Each scope has its own: how long an answer takes must not tell one consumer what another has asked.
 */
export function fingerprintMemo(digest: Digest): KeyOf {
  const memo = new LRUCache<string, KeyUnder>({
    maxSize: MAX_MEMO_BYTES,
    // Beside its name, an element holds a fingerprint, a key and what both are made of.
    sizeCalculation: (_keyUnder, name) => 4 * name.length + OVERHEAD_BYTES,
  })
  return (call, routed, scope) => {
    const name = memoName(call, routed, scope)
    const known = memo.get(name)
    if (known !== undefined) return known
    const made = fingerprint(call, routed)
    if (made === undefined) return undefined
    const keyUnder = keyOf(scope, made, digest)
    memo.set(name, keyUnder)
    return keyUnder
  }
}

/** All that a fingerprint is made of, with the body's digest in the place of the body. */
function memoName(
  call: FingerprintedCall & Pick<Call, 'bodyDigest'>,
  { route, model, candidates, transforms }: Fingerprinted,
  scope: string,
): string {
  const { operation, bodyDigest } = call
  const headers = operation.forwards.length === 0 ? '' : JSON.stringify(forwardedHeaders(call))
  return `${bodyDigest()}\n${scope}\n${operation.name}\n${route}\n${model.name}\n${transforms}\n${headers}${placesOf(candidates)}`
}

/** The same list for all requests of a model and a plan's rights. */
const places = new WeakMap<Fingerprinted['candidates'], string>()

function placesOf(candidates: Fingerprinted['candidates']): string {
  let text = places.get(candidates)
  if (text === undefined) {
    text = candidates.map((candidate) => `\n${JSON.stringify(placeOf(candidate))}`).join('')
    places.set(candidates, text)
  }
  return text
}

/** The key of the last purge version is remembered: it changes with a purge only. */
function keyOf(scope: string, fingerprint: string, digest: Digest): KeyUnder {
  let last: { readonly purgeVersion: string; readonly key: string } | undefined
  return (purgeVersion) => {
    if (last?.purgeVersion !== purgeVersion) {
      last = { purgeVersion, key: cacheKey({ scope, purgeVersion, fingerprint }, digest) }
    }
    return last.key
  }
}
