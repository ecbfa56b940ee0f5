import { type ConsumerStore, tableConsumerStore } from '@tollgate/middleware'
import type { Place } from './place.ts'
import { withTables } from './tables.ts'

/** Runs a command's work on the consumers and keys that the gateway reads. @throws CommandFault where nobody shares them. */
export function withConsumers<T>(
  place: Place,
  work: (store: ConsumerStore, storage: string) => Promise<T>,
): Promise<T> {
  return withTables(place, 'Keys', (open, storage) => work(tableConsumerStore(open), storage))
}
