import { costOf } from '../operations/index.ts'
import type { RequestRecord, TokenUsage } from '../pipeline/index.ts'

/** Notes what an answer would have taken, had the model been asked for it. */
export function noteSpared(record: RequestRecord, usage: TokenUsage | undefined): void {
  if (usage === undefined) return
  record.spared = usage
  if (record.price !== undefined) record.sparedNanoUsd = costOf(usage, record.price)
}
