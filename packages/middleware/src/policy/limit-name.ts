import type { Measure } from './limit.ts'
import type { LimitDocument } from './limit-schema.ts'
import { measureOf } from './measure.ts'

const BASES: Readonly<Record<Measure, string>> = {
  requests: 'requests',
  tokens: 'tokens',
  input: 'input-tokens',
  output: 'output-tokens',
  money: 'usd',
  concurrency: 'concurrent',
}

/** Whom a limit counts together: before the names of shared and global limits, which meet a consumer's own in one header. */
export type NamePrefix = '' | 'plan-' | 'global-'

/**
 * A limit's name in headers and refusals: what it counts, the period where `siblings`, the limits of its list, have
 * another of the kind for the same model, and the model if it is for one.
 */
export function limitName(document: LimitDocument, siblings: readonly LimitDocument[], prefix: NamePrefix): string {
  const measure = measureOf(document)
  const alike = siblings.filter(({ model }) => model === document.model).filter((other) => measureOf(other) === measure)
  const period = alike.length > 1 && 'per' in document ? `-${document.per}` : ''
  const model = document.model === undefined ? '' : `:${document.model}`
  return `${prefix}${BASES[measure]}${period}${model}`
}
