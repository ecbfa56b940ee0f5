import {
  openUsage,
  outlinePolicyText,
  type Table,
  tableConsumerStore,
  type UsageReader,
  usageReader,
} from '@tollgate/middleware'
import { redisUrl, withCounters } from './counters.ts'
import { policyInForce } from './managing.ts'
import type { Place } from './place.ts'
import { withTables } from './tables.ts'

/** Runs a command's work on the table of the ledger that the gateway writes. */
export function withLedger<T>(place: Place, work: (table: Table, storage: string) => Promise<T>): Promise<T> {
  return withTables(place, 'Reports', (open, storage) => work(open('tollgateusage'), storage))
}

/** Runs a command's work on the requests themselves: neither the policy nor the counters are needed for it. */
export function withRequests<T>(place: Place, work: (reader: Pick<UsageReader, 'why'>) => Promise<T>): Promise<T> {
  // How long figures are kept is of no account for a request's story.
  return withLedger(place, (table) => work(usageReader({ table, kept: () => outlinePolicyText(undefined).usage })))
}

/** Runs a command's work on what requests came to, held against what limits have counted. */
export async function withUsage<T>(
  place: Place,
  work: (reader: UsageReader, storage: string) => Promise<T>,
): Promise<T> {
  // Of counters in Redis only who has looked twice knows whether they are still: a command would tell that nothing is missing.
  if (redisUrl(place) !== undefined) {
    return withTables(place, 'Reports', async (open, storage) => {
      const { usage } = await policyInForce(place, open)
      return work(usageReader({ table: open('tollgateusage'), kept: () => usage }), storage)
    })
  }
  return withTables(place, 'Reports', async (open, storage) => {
    const outline = await policyInForce(place, open)
    return withCounters(place, open, (counters) => {
      const consumers = tableConsumerStore(open)
      const reader = openUsage({ table: open('tollgateusage'), counters, consumers, policy: () => outline })
      return work(reader, storage)
    })
  })
}
