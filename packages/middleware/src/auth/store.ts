import type { Consumer, KeyRecord } from './consumer.ts'

/**
 * Keeps consumers and their keys, with every field that they have: a key that came back without its `grant` might do what it may
 * not. Every method rejects when the store can't be reached; none answers from a guess.
 *
 * What a method rejects with is told to callers as an outage (503) if `isOutage` holds for it: an SDK's or a system's
 * error, a timeout, any error class of the store's own, or `StoreUnavailable`, which says it beyond doubt. An error of the
 * JavaScript engine (`TypeError` …) or an assertion is a defect of the store's code, and a 500.
 */
export interface ConsumerStore {
  findKey(publicId: string, signal?: AbortSignal): Promise<KeyRecord | undefined>
  findConsumer(id: string, signal?: AbortSignal): Promise<Consumer | undefined>
  /** Adds a consumer; `false`, changing nothing, if the id is taken. */
  addConsumer(consumer: Consumer, signal?: AbortSignal): Promise<boolean>
  /** Adds a key; `false`, changing nothing, if the public id is taken. */
  addKey(key: KeyRecord, signal?: AbortSignal): Promise<boolean>
  /** Changes these fields of a consumer, and no others; `false` if there is none. */
  updateConsumer(id: string, change: ConsumerChange, signal?: AbortSignal): Promise<boolean>
  /** Changes these fields of a key, and no others; `false` if there is none. */
  updateKey(publicId: string, change: KeyChange, signal?: AbortSignal): Promise<boolean>
  /**
   * Says which key takes this one's place, and lets this one end then, unless it ends before; both at once, and only of a key whose
   * place none has taken. The key as it stands then, whoever changed it; `undefined` if there is none.
   */
  replaceKey(publicId: string, replacement: KeyReplacement, signal?: AbortSignal): Promise<KeyRecord | undefined>
  /** Removes a key for good; `false` if there is none. */
  removeKey(publicId: string, signal?: AbortSignal): Promise<boolean>
  /** All consumers, or those after an id, in the order of their ids (by UTF-16 units), a page at a time. */
  listConsumers(signal?: AbortSignal, after?: string): AsyncIterable<Consumer>
  /** A consumer's keys, or all, in no order. Reads the whole table. */
  listKeys(of: { readonly consumer?: string | undefined }, signal?: AbortSignal): AsyncIterable<KeyRecord>
}

export type ConsumerChange = Partial<Pick<Consumer, 'plan' | 'disabled'>>
export type KeyChange = Partial<Pick<KeyRecord, 'disabled' | 'expiresAt' | 'usedAt'>>

export interface KeyReplacement {
  /** A public id. */
  readonly replacedBy: string
  /** Milliseconds since 1970. */
  readonly expiresAt: number
}
