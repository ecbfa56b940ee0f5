import { hash } from 'node:crypto'

/** Texts that have been seen, told apart exactly. */
export interface SeenTexts {
  has(text: string): boolean
  add(text: string): void
}

/**
 * Found by digest, since a built-in set tells texts above 16 KiB apart by their length alone before it compares them;
 * and compared, since a digest takes lone surrogates for one and the same.
 */
export function seenTexts(): SeenTexts {
  const byDigest = new Map<string, string>()
  return {
    has: (text) => byDigest.get(digestOf(text)) === text,
    add(text) {
      byDigest.set(digestOf(text), text)
    },
  }
}

function digestOf(text: string): string {
  return hash('sha256', text, 'base64url')
}
