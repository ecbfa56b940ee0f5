import type { Consumer, KeyRecord } from './consumer.ts'

/** Keeps consumers and their keys. Every method rejects when the store can't be reached; none answers from a guess. */
export interface ConsumerStore {
  findKey(publicId: string, signal?: AbortSignal): Promise<KeyRecord | undefined>
  findConsumer(id: string, signal?: AbortSignal): Promise<Consumer | undefined>
  /** Adds a consumer; `false`, changing nothing, if the id is taken. */
  addConsumer(consumer: Consumer, signal?: AbortSignal): Promise<boolean>
  /** Adds a key; `false`, changing nothing, if the public id is taken. */
  addKey(key: KeyRecord, signal?: AbortSignal): Promise<boolean>
}
