/*
 * `Cache-Status` (RFC 9211, section 2).
 */

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
