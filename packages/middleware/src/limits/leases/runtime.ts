import type { CircuitBreaker, Time } from '../../pipeline/index.ts'
import type { Limit } from '../../policy/index.ts'
import type { CounterStore } from '../stores/counter-store.ts'
import type { StoreClock } from '../stores/store-clock.ts'
import type { Row } from './row.ts'
import type { RowLoss } from './row-loss.ts'

/** What a limiter tells its operator. */
export interface LimiterEvents {
  /** The store fails. Told once, until it works again. */
  readonly storeFailed?: (cause: unknown) => void
  readonly storeRecovered?: (failedMs: number, failures: number) => void
  /** A row can't be read, or not as it is: its subject's requests are refused with 503 until it is mended. */
  readonly rowFailed?: (subject: string, cause: unknown) => void
  /** A programming fault, in work that no request waits for; what a request meets, `admit` throws. */
  readonly fault?: (subject: string, fault: unknown) => void
  /**
   * A row was lost (deleted, restored from a backup, its store emptied) and is rebuilt from what this instance had seen of
   * it. What no instance had seen counts from zero: up to one further quota may have been admitted.
   */
  readonly rowLost?: (subject: string, loss: RowLoss) => void
  /** An instance has died, or was cut off, with units of a budget in its hands: they count as spent. */
  readonly unitsLost?: (subject: string, limit: Limit, units: number) => void
}

/** Rows as they were last seen, of as many subjects as there is room for. */
export interface SeenRows {
  get(subject: string): Row | undefined
  set(subject: string, row: Row): void
}

/** The dependencies at run time that all subjects' lease managers of one limiter share. */
export interface Runtime {
  readonly store: CounterStore
  readonly clock: StoreClock
  readonly time: Time
  /** A number in [0, 1), for jitter. */
  readonly random: () => number
  readonly breaker: CircuitBreaker
  /** The longest that one sync may take in all, in milliseconds. */
  readonly syncMs: number
  /** What a row that was lost is rebuilt from. */
  readonly rows: SeenRows
  readonly events: LimiterEvents
}
