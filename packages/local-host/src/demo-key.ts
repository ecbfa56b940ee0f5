import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  type ConsumerStore,
  issueKey,
  openTables,
  parseKey,
  type StorageLocation,
  sameDigest,
  tableConsumerStore,
} from '@tollgate/middleware'

/**
 * A key that works, for the first minutes: kept in the Azurite folder, and made for that Azurite only.
 *
 * @param plan that the key's consumer is on; each plan has a demo consumer of its own
 */
export async function demoKey(
  folder: string,
  location: Exclude<StorageLocation, { kind: 'memory' }>,
  plan: string,
): Promise<string> {
  const file = join(folder, 'demo-key')
  const store = tableConsumerStore(openTables(location))
  const kept = read(file)
  const consumer = `demo-${plan}`
  if (kept !== undefined && (await works(kept, consumer, store))) return kept
  const { key } = await issueKey(store, {
    consumer,
    plan: undefined,
    defaultPlan: plan,
    plans: [plan],
    now: Date.now(),
  })
  writeFileSync(file, `${key}\n`, { mode: 0o600 })
  chmodSync(file, 0o600)
  return key
}

async function works(key: string, consumer: string, store: ConsumerStore): Promise<boolean> {
  const parsed = parseKey(key)
  const record = parsed && (await store.findKey(parsed.publicId))
  if (parsed === undefined || record === undefined) return false
  return record.consumer === consumer && !record.disabled && sameDigest(record.digest, parsed.digest)
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return undefined
  }
}
