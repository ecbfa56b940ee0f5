/** Bytes that many share, so that all of them together stay within a bound. */
export interface ByteBudget {
  /** Takes so many, or none. */
  take(bytes: number): boolean
  give(bytes: number): void
}

export function byteBudget(maxBytes: number): ByteBudget {
  let taken = 0
  return {
    take(bytes) {
      if (taken + bytes > maxBytes) return false
      taken += bytes
      return true
    },
    give(bytes) {
      taken -= bytes
    },
  }
}
