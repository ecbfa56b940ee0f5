import { hash } from 'node:crypto'
import type { Call } from '../operations/index.ts'

/** Headers by which clients name a session, in lower case; the first that is there counts. */
export const SESSION_HEADERS: readonly string[] = [
  'x-tollgate-session',
  'x-session-id',
  // Claude Code
  'x-claude-code-session-id',
  // Codex
  'session-id',
  'session_id',
  // OpenCode
  'x-session-affinity',
]

/** Whose conversation, and with which model: it is no other's, and no prompt cache is shared between models. */
export interface Talking {
  readonly consumer: string
  readonly model: string
}

/**
 * What stays the same in all requests of a conversation, hashed: the body's `prompt_cache_key`, else a header that names the session,
 * else how the conversation begins. Worked out when it is first asked for, in one pass over that beginning.
 */
export function conversationKey(call: Call, talking: Talking): () => string {
  let key: string | undefined
  return () => {
    key ??= hash('sha256', JSON.stringify([talking.consumer, talking.model, ...namedBy(call)]), 'base64url')
    return key
  }
}

function namedBy({ operation, body, headers }: Call): readonly [by: string, name: unknown] {
  const { prompt_cache_key: given } = body.json
  if (typeof given === 'string' && given !== '') return ['key', given]
  for (const name of SESSION_HEADERS) {
    const value = headers.get(name)
    if (value !== null && value !== '') return ['session', value]
  }
  return ['opening', operation.conversation?.opening(body)]
}
