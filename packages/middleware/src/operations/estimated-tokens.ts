import type { Body } from './body.ts'
import type { Conversation } from './conversation.ts'

/** Bytes of a token, as it is estimated: English prose has four or so, code and other scripts three. */
const BYTES_PER_TOKEN = 4
/** A schema of a tool that is nested deeper is not counted further. */
const MAX_DEPTH = 32

/** Roughly the tokens of texts: a quarter of their bytes. */
export function estimatedTokens(bytes: number): number {
  return Math.ceil(bytes / BYTES_PER_TOKEN)
}

/**
 * Roughly the tokens that a model reads of a conversation: a quarter of the bytes of its texts and of the tools that it offers.
 * Images and files are not counted. Never what anything is charged or limited by.
 */
export function estimatedInput(conversation: Pick<Conversation, 'texts' | 'tools'>, body: Body): number {
  let bytes = 0
  for (const text of conversation.texts(body)) bytes += Buffer.byteLength(text)
  for (const tool of conversation.tools(body)) bytes += bytesIn(tool, MAX_DEPTH)
  return estimatedTokens(bytes)
}

/** Of all names and texts in a JSON value. */
function bytesIn(value: unknown, depth: number): number {
  if (typeof value === 'string') return Buffer.byteLength(value)
  if (typeof value !== 'object' || value === null || depth === 0) return 0
  let bytes = 0
  if (Array.isArray(value)) for (const each of value) bytes += bytesIn(each, depth - 1)
  else for (const name in value) bytes += name.length + bytesIn((value as Record<string, unknown>)[name], depth - 1)
  return bytes
}
