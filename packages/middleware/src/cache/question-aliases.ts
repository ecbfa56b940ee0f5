import { LRUCache } from 'lru-cache'
import { type Question, questionDigest } from './question.ts'

/** Of 250 bytes or so each. */
const MAX_ALIASES = 10_000

/**
 * Digests of questions by the bytes that they came in, since the canonical form costs ten times as much as a hash: the
 * same bytes on the same route, for the same target and by the same transforms, are the same question.
 */
export function questionAliases(): (question: Question, bytesDigest: string) => string | undefined {
  const aliases = new LRUCache<string, string>({ max: MAX_ALIASES })
  return (question, bytesDigest) => {
    const { route, target, transforms } = question
    const alias = `${bytesDigest} ${route} ${transforms} ${target}`
    const known = aliases.get(alias)
    if (known !== undefined) return known
    const digest = questionDigest(question)
    if (digest !== undefined) aliases.set(alias, digest)
    return digest
  }
}
