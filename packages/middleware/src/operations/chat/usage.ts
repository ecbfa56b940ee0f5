import type { TokenUsage } from '../../pipeline/index.ts'
import { isCount } from '../token-usage.ts'

/** As a model tells it: nothing in it is checked. */
export interface ChatUsage {
  readonly prompt_tokens?: number
  readonly completion_tokens?: number
  readonly total_tokens?: number
  readonly prompt_tokens_details?: { readonly cached_tokens?: number } | null
  readonly input_tokens_details?: { readonly cached_tokens?: number } | null
  readonly prompt_cache_hit_tokens?: number
  readonly cached_tokens?: number
  readonly cache_read_input_tokens?: number
}

/**
 * What a model says that a completion took; `undefined` where it says nothing that can be believed. Cached tokens are
 * a part of the prompt's. Some services leave out of `completion_tokens` what a model thought unseen, and count it in
 * the total: then the total says more.
 */
export function usageOf(told: ChatUsage | null | undefined): TokenUsage | undefined {
  const input = told?.prompt_tokens
  const completion = told?.completion_tokens
  if (!isCount(input) || !isCount(completion)) return undefined
  const total = told?.total_tokens
  return {
    input,
    cachedInput: Math.min(cachedOf(told ?? {}), input),
    output: isCount(total) ? Math.max(completion, total - input) : completion,
  }
}

/** As services name what they had cached of the prompt: OpenAI and most others, Responses' form, DeepSeek, Moonshot, Anthropic. */
function cachedOf(told: ChatUsage): number {
  const counts = [
    told.prompt_tokens_details?.cached_tokens,
    told.input_tokens_details?.cached_tokens,
    told.prompt_cache_hit_tokens,
    told.cached_tokens,
    told.cache_read_input_tokens,
  ].filter(isCount)
  return Math.max(0, ...counts)
}
