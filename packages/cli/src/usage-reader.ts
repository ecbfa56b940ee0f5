import { type UsageReader, usageReader } from '@tollgate/middleware'
import type { Place } from './place.ts'
import { withTables } from './tables.ts'

const DAY_MS = 86_400_000
const KEPT = { detailMs: 30 * DAY_MS, hoursMs: 400 * DAY_MS }

/** Runs a command's work on the ledger that the gateway writes. */
export function withUsage<T>(place: Place, work: (reader: UsageReader, storage: string) => Promise<T>): Promise<T> {
  return withTables(place, 'Reports', (open, storage) =>
    work(usageReader({ table: open('tollgateusage'), kept: () => KEPT }), storage),
  )
}
