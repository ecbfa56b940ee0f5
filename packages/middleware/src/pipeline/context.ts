import type { Log } from './log.ts'
import type { RequestRecord } from './record.ts'
import type { Refuse } from './refusal.ts'

/** What every room may rely on. The rooms before it add the rest, typed. */
export interface BaseContext {
  readonly refuse: Refuse
  readonly record: RequestRecord
  readonly log: Log
}
