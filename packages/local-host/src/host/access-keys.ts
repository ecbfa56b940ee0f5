import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import type { IncomingMessage } from 'node:http'
import { join } from 'node:path'

/**
 * What a caller must show. `function`: for functions of authLevel `function`. `master`: for authLevel `admin` and the
 * admin API; it opens functions too.
 */
export interface AccessKeys {
  readonly function: string
  readonly master: string
}

/** The keys kept in this folder, readable by its owner alone; new ones where there are none, or no folder. */
export function accessKeys(folder: string | undefined): AccessKeys {
  const kept = folder === undefined ? undefined : read(folder)
  if (kept !== undefined) return kept
  const keys = { function: newKey(), master: newKey() }
  if (folder !== undefined) {
    const file = fileIn(folder)
    writeFileSync(file, JSON.stringify(keys), { mode: 0o600 })
    chmodSync(file, 0o600)
  }
  return keys
}

/** Whether the request's `x-functions-key` header or `code` parameter is one of these. */
export function showsKey({ headers }: IncomingMessage, url: URL, accepted: readonly string[]): boolean {
  const header = headers['x-functions-key']
  const shown = digest(typeof header === 'string' ? header : (url.searchParams.get('code') ?? ''))
  return accepted.map((key) => timingSafeEqual(digest(key), shown)).includes(true)
}

const fileIn = (folder: string) => join(folder, 'access-keys.json')
const newKey = () => randomBytes(32).toString('base64url')
const digest = (text: string) => createHash('sha256').update(text).digest()

function read(folder: string): AccessKeys | undefined {
  try {
    const keys = JSON.parse(readFileSync(fileIn(folder), 'utf8')) as Partial<AccessKeys>
    return keys.function && keys.master ? { function: keys.function, master: keys.master } : undefined
  } catch {
    return undefined
  }
}
