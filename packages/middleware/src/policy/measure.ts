import type { Measure } from './limit.ts'
import type { LimitDocument } from './limit-schema.ts'

const OF_TOKENS = { total: 'tokens', input: 'input', output: 'output' } as const satisfies Record<string, Measure>

/** What a limit of the policy counts. */
export function measureOf(document: LimitDocument): Measure {
  if ('requests' in document) return 'requests'
  if ('tokens' in document) return OF_TOKENS[document.count ?? 'total']
  return 'usd' in document ? 'money' : 'concurrency'
}
