import type { Consumer, KeyRecord } from '../consumer.ts'
import type { ConsumerStore } from '../store.ts'

/** Consumers and keys of one process, gone with it. */
export function memoryConsumerStore(): ConsumerStore {
  const consumers = new Map<string, Consumer>()
  const keys = new Map<string, KeyRecord>()
  return {
    findKey: async (publicId) => keys.get(publicId),
    findConsumer: async (id) => consumers.get(id),
    addConsumer: async (consumer) => addOnce(consumers, consumer.id, consumer),
    addKey: async (key) => addOnce(keys, key.publicId, key),
  }
}

function addOnce<T extends object>(rows: Map<string, T>, id: string, row: T): boolean {
  if (rows.has(id)) return false
  rows.set(id, Object.freeze({ ...row }))
  return true
}
