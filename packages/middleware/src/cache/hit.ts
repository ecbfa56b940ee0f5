import type { Time } from '../pipeline/index.ts'
import { hitStatus } from './cache-status.ts'
import type { CacheEntry } from './entry.ts'
import { freshUntil } from './freshness.ts'
import { served } from './served.ts'
import { noteSpared } from './spared.ts'
import type { Visit } from './visit.ts'

/** Answers with an entry, whose age and remaining life it tells (RFC 9111, section 5.1; RFC 9211, section 2.4). */
export function hit(
  entry: CacheEntry,
  { context, rule, asStream }: Visit,
  { wallClock }: Pick<Time, 'wallClock'>,
): Response {
  const now = wallClock()
  context.record.cache = 'hit'
  noteSpared(context.record, entry.usage)
  const age = Math.max(0, Math.floor((now - entry.storedAt) / 1_000))
  const ttl = Math.max(0, Math.floor((freshUntil(entry, rule) - now) / 1_000))
  return served(entry, asStream, { age: String(age), 'cache-status': hitStatus(ttl) })
}
