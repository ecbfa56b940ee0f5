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
    updateConsumer: async (id, change) => update(consumers, id, change),
    updateKey: async (publicId, change) => update(keys, publicId, change),
    async replaceKey(publicId, { replacedBy, expiresAt }) {
      const key = keys.get(publicId)
      if (key !== undefined && key.replacedBy === undefined) {
        update(keys, publicId, { replacedBy, expiresAt: Math.min(expiresAt, key.expiresAt ?? expiresAt) })
      }
      return keys.get(publicId)
    },
    removeKey: async (publicId) => keys.delete(publicId),
    async *listConsumers(_signal, after = '') {
      const ids = [...consumers.keys()].filter((id) => id > after).toSorted((a, b) => (a < b ? -1 : 1))
      for (const id of ids) {
        const consumer = consumers.get(id)
        if (consumer !== undefined) yield consumer
      }
    },
    async *listKeys({ consumer }) {
      for (const key of keys.values()) if (consumer === undefined || key.consumer === consumer) yield key
    },
  }
}

function update<T extends object>(rows: Map<string, T>, id: string, change: Partial<T>): boolean {
  const row = rows.get(id)
  if (row === undefined) return false
  rows.set(id, Object.freeze({ ...row, ...change }))
  return true
}

function addOnce<T extends object>(rows: Map<string, T>, id: string, row: T): boolean {
  if (rows.has(id)) return false
  rows.set(id, Object.freeze({ ...row }))
  return true
}
