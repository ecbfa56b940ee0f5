import { chatEvents, readAnswer } from '../operations/index.ts'
import type { CacheEntry } from './entry.ts'

/**
 * Whether an entry can be served, in both of its forms: one that another version stored, or anybody who may write the store,
 * is a miss where it can't, and not a fault of each request until it expires.
 */
export function isReadable({ answer, events }: CacheEntry): boolean {
  return readAnswer(answer.toString()) !== undefined && (events === undefined || isWhole(events))
}

function isWhole(bytes: Uint8Array): boolean {
  const events = chatEvents()
  events.feed(bytes)
  events.close()
  return events.ended === 'whole'
}
