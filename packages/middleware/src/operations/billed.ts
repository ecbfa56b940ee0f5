import type { Tokens, Usage } from '../pipeline/index.ts'
import type { Surcharges } from './operation.ts'

/**
 * What a call may be billed as that told this usage: the answer decides, and what it leaves open is settled by what was asked
 * for. Several where it doesn't tell which tier served a request for another than the usual one: the dearest of them counts.
 */
export function billed(usage: Usage, { tier, toolCalls, kinds }: Surcharges): readonly Usage[] {
  const calls = usage.toolCalls ?? boundedCalls(toolCalls)
  const settled: Usage = {
    ...usage,
    tokens: kinds.includes('cacheWriteLong') ? withLongWrites(usage.tokens) : usage.tokens,
    ...(calls === undefined ? {} : { toolCalls: calls }),
  }
  return usage.tier === undefined && tier !== undefined ? [settled, { ...settled, tier }] : [settled]
}

/** What is written to the prompt cache, where a long life was asked for and the answer doesn't tell which writes have it. */
function withLongWrites(tokens: Tokens): Tokens {
  const { cacheWrite, cacheWriteLong, ...others } = tokens
  if (!cacheWrite || cacheWriteLong !== undefined) return tokens
  return { ...others, cacheWriteLong: cacheWrite }
}

/** An answer that doesn't count its calls of hosted tools is billed for the most that it could make, where that is known. */
function boundedCalls(toolCalls: Surcharges['toolCalls']): Usage['toolCalls'] {
  const bounded = Object.entries(toolCalls).filter(([, calls]) => Number.isFinite(calls))
  return bounded.length === 0 ? undefined : Object.fromEntries(bounded)
}
