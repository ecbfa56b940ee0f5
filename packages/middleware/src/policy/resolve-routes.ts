import { durationMs } from './duration.ts'
import type { CacheRule, RoutePolicy, TransformRule } from './policy.ts'
import { DEFAULT_MODEL } from './resolve-models.ts'
import type { RouteDocument } from './route-schema.ts'

const DEFAULT_TTL = '1h'
const DEFAULT_TAGS = ['document', 'chunk', 'passage', 'context']

/** A route with its defaults filled in. */
export function resolveRoute({ model = DEFAULT_MODEL, cache, transforms }: RouteDocument): RoutePolicy {
  return { model, cache: cacheRule(cache), transforms: transformRule(transforms) }
}

function cacheRule(cache: RouteDocument['cache']): CacheRule | undefined {
  if (cache === false) return undefined
  const { ttl = DEFAULT_TTL, sampled = true, scope = 'consumer', tools = false } = cache ?? {}
  return { ttlMs: durationMs(ttl), sampled, scope, tools }
}

function transformRule(transforms: RouteDocument['transforms']): TransformRule {
  const { lineEndings = false, minifyJson = false, dropDuplicates = false } = transforms ?? {}
  const tags = dropDuplicates === true ? DEFAULT_TAGS : dropDuplicates || []
  return { lineEndings, minifyJson, dropDuplicates: [...new Set(tags)].toSorted() }
}
