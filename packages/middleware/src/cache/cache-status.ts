/** `Cache-Status` (RFC 9211), section 2. */
export function hitStatus(ttlSeconds: number): string {
  return `tollgate; hit; ttl=${ttlSeconds}`
}

export function missStatus(stored: boolean): string {
  return `tollgate; fwd=miss${stored ? '; stored' : ''}`
}

/** @param detail why, as a token */
export function bypassStatus(detail: string): string {
  return `tollgate; fwd=bypass; detail=${detail}`
}
