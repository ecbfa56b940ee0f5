import type { RequestRecord, TokenUsage } from '../pipeline/index.ts'
import type { ChatUsage } from './answer.ts'
import { costOf } from './cost.ts'

/**
 * What a model says that a completion took; `undefined` where it says nothing that can be believed. Cached tokens are
 * a part of the prompt's. Some services leave out of `completion_tokens` what a model thought unseen, and count it in
 * the total: then the total says more.
 */
export function usageOf(told: ChatUsage | null | undefined): TokenUsage | undefined {
  const input = told?.prompt_tokens
  const completion = told?.completion_tokens
  if (!isCount(input) || !isCount(completion)) return undefined
  const cached = told?.prompt_tokens_details?.cached_tokens
  const total = told?.total_tokens
  return {
    input,
    cachedInput: isCount(cached) ? Math.min(cached, input) : 0,
    output: isCount(total) ? Math.max(completion, total - input) : completion,
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0
}

/** Puts what was used, and what it cost, on the record. */
export function noteUsage(record: RequestRecord, usage: TokenUsage): void {
  record.usage = usage
  if (record.price !== undefined) record.costNanoUsd = costOf(usage, record.price)
}
