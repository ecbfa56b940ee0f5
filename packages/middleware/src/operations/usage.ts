import { type Tokens, tokensRead, tokensWritten, type Usage } from '../pipeline/index.ts'
import { isJson, type Json } from './body.ts'
import { tokensOf } from './tokens.ts'

/** As a model tells it: nothing in it is checked. */
export interface ChatUsage {
  readonly prompt_tokens?: number
  readonly completion_tokens?: number
  readonly total_tokens?: number
  readonly [field: string]: unknown
}

/**
 * What a model says that a completion took; `undefined` where it says nothing that can be believed. What it tells in details
 * is a part of the prompt or of the completion. Some services leave out of `completion_tokens` what a model thought unseen,
 * and count it in the total: then the total says more.
 */
export function usageOf(told: ChatUsage | null | undefined): Usage | undefined {
  const input = told?.prompt_tokens
  const completion = told?.completion_tokens
  if (!isCount(input) || !isCount(completion)) return undefined
  const total = told?.total_tokens
  const written = isCount(total) ? Math.max(completion, total - input) : completion
  const details = detailsIn(told?.completion_tokens_details)
  const { reasoning_tokens: reasoning } = details
  return {
    tokens: tokensOf(
      { total: input, parts: readParts(told ?? {}) },
      { total: written, parts: partsIn(details, 'Output') },
    ),
    ...(isCount(reasoning) && reasoning > 0 ? { reasoning: Math.min(reasoning, written) } : {}),
  }
}

/** What an answer, or an event of one, tells of its bill beside its tokens. */
export function servedBy({ service_tier: tier, model }: Json): Pick<Usage, 'tier' | 'model'> {
  return {
    ...(isName(tier) ? { tier } : {}),
    ...(isName(model) ? { model } : {}),
  }
}

/** A word that may be logged. */
function isName(value: unknown): value is string {
  return typeof value === 'string' && /^[\w.:/@-]{1,128}$/.test(value)
}

/** Names of a prompt's parts, beside `<kind>_tokens` for a kind of their own. */
const READ_PARTS: Readonly<Record<string, string | undefined>> = {
  cached_tokens: 'cachedInput',
  cache_read_tokens: 'cachedInput',
  cache_write_tokens: 'cacheWrite',
  cache_creation_tokens: 'cacheWrite',
}

/** Parts that are no kind of their own: they cost what all text does. */
const PLAIN: ReadonlySet<string> = new Set([
  'text_tokens',
  'reasoning_tokens',
  'accepted_prediction_tokens',
  'rejected_prediction_tokens',
])

/** A kind becomes a name in the log, the ledger and metrics: of letters and figures, and of one answer not many. */
const KIND_FIELD = /^[a-z][a-z0-9_]{0,55}_tokens$/i
const MOST_KINDS = 24

function readParts(told: ChatUsage): Tokens {
  const details = detailsIn(told.prompt_tokens_details ?? told.input_tokens_details)
  const parts: Record<string, number> = partsIn(details, 'Input', READ_PARTS)
  // As services name them beside the prompt's: DeepSeek, Moonshot, Anthropic.
  for (const field of ['prompt_cache_hit_tokens', 'cached_tokens', 'cache_read_input_tokens']) {
    raise(parts, 'cachedInput', told[field])
  }
  raise(parts, 'cacheWrite', told.cache_creation_input_tokens)
  const long = longWrites(details) ?? detailsIn(told.cache_creation).ephemeral_1h_input_tokens
  if (isCount(long)) {
    // All writes are told, and how many of them are kept for longer than usual.
    parts.cacheWriteLong = long
    parts.cacheWrite = Math.max(0, (parts.cacheWrite ?? 0) - long)
  }
  return parts
}

/** Of what was written to OpenAI's prompt cache, what is kept for longer than its usual 30 minutes, where that is told. */
function longWrites({ cache_write_tokens_details: lives }: Json): number | undefined {
  if (!isJson(lives)) return undefined
  const counts = Object.entries(lives).filter(([field]) => field !== 'ttl_30m_tokens' && field.startsWith('ttl_'))
  return counts.reduce((sum, [, count]) => sum + (isCount(count) ? count : 0), 0)
}

function raise(parts: Record<string, number>, kind: string, count: unknown): void {
  if (isCount(count) && count > (parts[kind] ?? 0)) parts[kind] = count
}

function partsIn(
  details: Json,
  side: 'Input' | 'Output',
  names: Readonly<Record<string, string | undefined>> = {},
): Record<string, number> {
  const parts: Record<string, number> = {}
  for (const field in details) {
    const count = details[field]
    // Most are none.
    if (count === 0 || !isCount(count) || PLAIN.has(field) || !KIND_FIELD.test(field)) continue
    const kind = names[field] ?? `${camelCase(field.slice(0, -'_tokens'.length))}${side}`
    if (Object.keys(parts).length >= MOST_KINDS && !(kind in parts)) break
    parts[kind] = Math.max(parts[kind] ?? 0, count)
  }
  return parts
}

function camelCase(name: string): string {
  return name.replace(/_+(\w)/g, (_all, letter: string) => letter.toUpperCase())
}

function detailsIn(value: unknown): Json {
  return isJson(value) ? value : {}
}

export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0
}

/** Whether a usage can be of an answer with output: neither that nor its prompt takes no tokens at all. */
export function isOfOutput({ tokens }: Usage): boolean {
  return tokensRead(tokens) > 0 && tokensWritten(tokens) > 0
}
