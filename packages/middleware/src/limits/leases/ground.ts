import type { Time } from '../../pipeline/index.ts'
import type { Limit } from '../../policy/index.ts'
import type { CounterStore } from '../stores/counter-store.ts'
import type { StoreClock } from '../stores/store-clock.ts'
import type { Row } from './row.ts'
import type { RowLoss } from './row-loss.ts'
import type { LimiterUnavailable } from './unavailable.ts'

/** The rows that were seen last, of as many subjects as there is room for. */
export interface SeenRows {
  get(subject: string): Row | undefined
  set(subject: string, row: Row): void
}

/** What all of an instance's holdings share. */
export interface Ground {
  readonly store: CounterStore
  readonly clock: StoreClock
  readonly time: Time
  /** A number in [0, 1), for jitter. */
  readonly random: () => number
  /** How long a look at the centre may take in all, in milliseconds. */
  readonly flightMs: number
  /** Whether to ask the store now, though nobody waits for it. */
  readonly mayAsk: () => boolean
  /** Told of what came of each flight. */
  readonly landed: (outcome: 'ok' | LimiterUnavailable) => void
  /** Told of a row that can't be read or written as it is. */
  readonly rowFailed: (subject: string, cause: unknown) => void
  /** Told of a programming fault that no request has met. */
  readonly fault: (subject: string, fault: unknown) => void
  /** Rows as they were last seen, by subject: what a row that is lost is rebuilt from. */
  readonly rows: SeenRows
  /** Told of a row that was lost, once it is rebuilt. */
  readonly rowLost: (subject: string, loss: RowLoss) => void
  /** Told of units of a budget whose holder was not heard of any more. */
  readonly lost: (subject: string, limit: Limit, units: number) => void
}
