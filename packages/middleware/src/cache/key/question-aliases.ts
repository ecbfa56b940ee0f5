import { LRUCache } from 'lru-cache'
import { type Question, questionDigest } from './question.ts'

/** Bound on all aliases, in bytes, of which one takes 600 or so. */
const MAX_BYTES = 4 * 1024 * 1024

/**
 * Digests of questions by the bytes that they came in, since the canonical form costs ten times as much as a hash: the
 * same bytes on the same route, for the same target and by the same transforms, are the same question. Each scope has its own:
 * how long an answer takes must not tell one consumer what another has asked.
 */
export function questionAliases(): (question: Question, scope: string, bytesDigest: string) => string | undefined {
  const aliases = new LRUCache<string, string>({
    maxSize: MAX_BYTES,
    sizeCalculation: (digest, alias) => 2 * (digest.length + alias.length),
  })
  return (question, scope, bytesDigest) => {
    const { route, target, transforms } = question
    const alias = `${bytesDigest} ${scope} ${route} ${transforms} ${target}`
    const known = aliases.get(alias)
    if (known !== undefined) return known
    const digest = questionDigest(question)
    if (digest !== undefined) aliases.set(alias, digest)
    return digest
  }
}
