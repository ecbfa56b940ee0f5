import type { Limit } from './limit.ts'
import { limitName, type NamePrefix } from './limit-name.ts'
import type { LimitDocument } from './limit-schema.ts'
import { measureOf } from './measure.ts'
import { LimitFault, resolveLimit } from './resolve-limit.ts'

/** Where a list of limits stands. */
export interface LimitList {
  /** Its path in the document, for faults. */
  readonly path: string
  readonly prefix: NamePrefix
  readonly isModel: (name: string) => boolean
}

/** The limits of one list; what is wrong with any goes to `faults`, with its path. */
export function resolveLimits(documents: readonly LimitDocument[], list: LimitList, faults: string[]): Limit[] {
  const limits = new Map<string, Limit>()
  for (const [index, document] of documents.entries()) {
    const path = `${list.path}[${index}]`
    if (document.model !== undefined && !list.isModel(document.model)) {
      faults.push(`${path}.model: there is no model '${document.model}' under models.`)
    }
    try {
      const limit = resolveLimit(document, limitName(document, documents, list.prefix))
      if (limits.has(limit.key)) faults.push(`${path}: a second limit on ${subjectOf(document)}. Keep the smaller.`)
      limits.set(limit.key, limit)
    } catch (fault) {
      if (!(fault instanceof LimitFault)) throw fault
      faults.push(`${path}: ${fault.message}`)
    }
  }
  return [...limits.values()]
}

const COUNTED = {
  requests: 'requests',
  tokens: 'tokens',
  input: 'input tokens',
  output: 'output tokens',
  money: 'money',
  concurrency: 'concurrent requests',
} as const

function subjectOf(document: LimitDocument): string {
  const period = 'per' in document ? ` per ${document.per}` : ''
  const model = document.model === undefined ? '' : ` for the model '${document.model}'`
  return `${COUNTED[measureOf(document)]}${period}${model}`
}
