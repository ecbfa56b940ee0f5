import type { RequestHeaders } from '../pipeline/index.ts'

/*
 * What a request may say of caching, and what a response says: `Cache-Control` (RFC 9111, section 5.2.1) and `Cache-Status`
 * (RFC 9211, section 2).
 */

/** What a request's `Cache-Control` asks for (RFC 9111, section 5.2.1). Other directives are none of a completion's. */
export interface RequestDirectives {
  /** Ask the model, whatever is stored. */
  readonly noCache: boolean
  /** Keep nothing of the answer. */
  readonly noStore: boolean
  /** Answer from the cache or not at all. */
  readonly onlyIfCached: boolean
  /** The oldest answer that will do, in milliseconds. */
  readonly maxAgeMs: number | undefined
}

const NONE: RequestDirectives = { noCache: false, noStore: false, onlyIfCached: false, maxAgeMs: undefined }

export function requestDirectives(headers: RequestHeaders): RequestDirectives {
  const text = headers.get('cache-control')
  if (text === null) return NONE
  const directives = new Map<string, string | undefined>()
  for (const directive of text.split(',')) {
    const [name = '', value] = directive.split('=', 2)
    directives.set(name.trim().toLowerCase(), value?.trim().replace(/^"(.*)"$/, '$1'))
  }
  return {
    noCache: directives.has('no-cache'),
    noStore: directives.has('no-store'),
    onlyIfCached: directives.has('only-if-cached'),
    maxAgeMs: directives.has('max-age') ? maxAge(directives.get('max-age')) : undefined,
  }
}

/** What is no number of seconds is taken for 0: whoever says it wants nothing old. */
function maxAge(seconds: string | undefined): number {
  return seconds !== undefined && /^\d{1,10}$/.test(seconds) ? Number(seconds) * 1_000 : 0
}

/** @param detail why, as a token */
export function hitStatus(ttlSeconds: number, detail?: string): string {
  return `tollgate; hit; ttl=${ttlSeconds}${detail === undefined ? '' : `; detail=${detail}`}`
}

export interface Forwarded {
  /** `request`: the request's own `Cache-Control` asked for it. */
  readonly fwd?: 'miss' | 'request'
  readonly stored?: boolean
  /** Answered by a call that another request had made. */
  readonly collapsed?: boolean
}

export function forwardedStatus({ fwd = 'miss', stored, collapsed }: Forwarded): string {
  return `tollgate; fwd=${fwd}${stored ? '; stored' : ''}${collapsed ? '; collapsed' : ''}`
}

/** @param detail why, as a token */
export function bypassStatus(detail: string): string {
  return `tollgate; fwd=bypass; detail=${detail}`
}

/** Neither found nor asked for. */
export const NOT_CACHED_STATUS = 'tollgate; detail=only-if-cached'
