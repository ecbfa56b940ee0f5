import type { CacheRule } from '../../policy/index.ts'

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
