import { noteUsage } from '../completion/index.ts'
import type { RequestRecord, TokenUsage } from '../pipeline/index.ts'
import type { Admission } from './leases/decision.ts'
import { type Reservation, unitsOf } from './reservation.ts'

/** How a reservation ends: one of these, once. */
export interface Settlement {
  /** The model has told what it took. */
  used(usage: TokenUsage): void
  /** Certainly nothing was generated. */
  unspent(): void
  /** Nobody knows: all that was reserved counts as spent. Who leaves early doesn't get away without paying. */
  uncertain(): void
}

export function settlement(
  admission: Admission,
  { usage: reserved, price }: Reservation,
  record: RequestRecord,
): Settlement {
  const used = (usage: TokenUsage) => {
    admission.settle((limit) => unitsOf(limit, usage, price))
    noteUsage(record, usage)
  }
  return {
    used,
    unspent: () => admission.settle(() => 0),
    uncertain() {
      record.uncertain = true
      used(reserved)
    },
  }
}
