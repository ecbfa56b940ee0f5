import { hash } from 'node:crypto'

/** Tokens of one completion. */
export interface DeskUsage {
  readonly input: number
  readonly output: number
}

/** Answers take from so many tokens on, and up to so many more. */
const SHORTEST = 80
const SPREAD = 240

/** What a completion takes, by the texts of its messages: four bytes a token, and a length of its own for each answer. */
export function deskUsage(texts: readonly string[]): DeskUsage {
  const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0)
  const drawn = hash('sha256', texts.join('\n'), 'buffer').readUInt32BE()
  return { input: Math.ceil(bytes / 4), output: SHORTEST + (drawn % SPREAD) }
}
