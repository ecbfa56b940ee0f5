import { createHmac, hash } from 'node:crypto'

/** A fixed-length stand-in for a text: 43 characters, base64url. */
export type Digest = (text: string) => string

/**
 * HMAC-SHA-256 with a secret, so that whoever reads a table or a log can't confirm a guessed prompt;
 * plain SHA-256 without one.
 */
export function digestWith(secret: string | undefined): Digest {
  return secret === undefined
    ? (text) => hash('sha256', text, 'base64url')
    : (text) => createHmac('sha256', secret).update(text).digest('base64url')
}
