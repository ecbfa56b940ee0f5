/** Makes one object of all values that are equal. */
export interface Interner {
  /**
   * The frozen copy that stands for all values of this content, and so do its parts, for as long as anything else holds it.
   * Values are maps, lists and scalars, as JSON has them; fields count in the order in which they stand.
   */
  intern<T>(value: T): T
  /** How many objects it knows. */
  size(): number
}

/**
 * It knows its objects by content and holds none of them: what no policy, limiter or client needs any longer is collected,
 * and then forgotten here too. So a process may load a new policy every hour for a year.
 */
export function interner(): Interner {
  const known = new Map<string, WeakRef<object>>()
  const collected = new FinalizationRegistry<string>((content) => {
    // Since then an equal value may have come again.
    if (known.get(content)?.deref() === undefined) known.delete(content)
  })

  function intern<T>(value: T): T {
    if (typeof value !== 'object' || value === null) return value
    const content = JSON.stringify(value)
    const same = known.get(content)?.deref()
    if (same !== undefined) return same as T
    const parts = Object.entries(value).map(([field, part]) => [field, intern(part)] as const)
    const copy = Object.freeze(Array.isArray(value) ? parts.map(([, part]) => part) : Object.fromEntries(parts))
    known.set(content, new WeakRef(copy))
    collected.register(copy, content)
    return copy as T
  }

  return { intern, size: () => known.size }
}

/** The one of this process: what is equal in two policies is the same object in both. */
export const { intern: interned } = interner()
