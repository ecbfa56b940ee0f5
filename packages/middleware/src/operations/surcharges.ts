import { type ModelRules, pricedFields, type TokenKind } from '../pipeline/index.ts'
import { type Body, isJson } from './body.ts'
import type { Operation, Surcharges } from './operation.ts'

/* What of a request moves its price, as OpenAI's APIs and those like it name it. */

/** All that moves the price of a call: what its request asks for, and what its model bills unasked. */
export interface BilledExtras extends Surcharges {
  /** Fields that move it otherwise, and that the model's price doesn't cover. */
  readonly fields: readonly string[]
}

/** @param rules of the model that is asked */
export function billedExtras(
  { surcharges, bounds }: Pick<Operation, 'surcharges' | 'bounds'>,
  body: Body,
  rules: Pick<ModelRules, 'contextWindow' | 'covers' | 'unasked'>,
): BilledExtras {
  const { covers = [], unasked: { searches, kinds: brought = [] } = {} } = rules
  const asked = surcharges(body)
  const fields = pricedFields(body.json).filter((field) => !covers.includes(field))
  if (searches === undefined && brought.length === 0) return { ...asked, fields }
  const kinds = [...new Set([...asked.kinds, ...brought])]
  if (searches === undefined) return { ...asked, fields, kinds }
  const most = searches === 'often' ? Number.POSITIVE_INFINITY : (bounds(body, rules)?.choices ?? 1)
  const calls = Math.max(most, asked.toolCalls[WEB_SEARCH] ?? 0)
  return { ...asked, fields, kinds, toolCalls: { ...asked.toolCalls, [WEB_SEARCH]: calls } }
}

/** The hosted tool by which a price says what a search costs, whoever asks for it. */
export const WEB_SEARCH = 'web_search'

/** OpenAI serves `fast` as `priority`, and says so in its answer. */
const SAME_TIER: ReadonlyMap<string, string> = new Map([['fast', 'priority']])

/** The service tier that a request asks for by name; `undefined` where it leaves that to the service. */
export function tierAsked(tier: unknown): string | undefined {
  if (typeof tier !== 'string' || tier === '' || tier === 'auto') return undefined
  return SAME_TIER.get(tier) ?? tier
}

/**
 * A hosted tool's name, without the date of its version: `web_search_2025_08_26`. What is no name is one that nobody priced.
 */
export function toolName(type: unknown): string {
  return typeof type === 'string' ? type.replace(/_\d{4}_\d{2}_\d{2}$/, '') : 'unnamed'
}

/** Tools that the caller runs. */
const OWN_TOOLS: ReadonlySet<unknown> = new Set(['function', 'custom'])

/** Whether the service runs a tool itself. */
export function isHosted(tool: unknown): boolean {
  return !OWN_TOOLS.has(Object(tool).type)
}

/** The tools of a request that the service runs itself, by name. */
export function hostedTools(tools: unknown): readonly string[] {
  return Array.isArray(tools) ? tools.filter(isHosted).map((tool) => toolName(Object(tool).type)) : []
}

/** The usual lives of what is written to a prompt cache: OpenAI's, and Anthropic's. */
const USUAL_LIVES: ReadonlySet<unknown> = new Set(['30m', '5m'])

/** Fields of a request, and of its parts, that say how long what is written to a prompt cache is kept. */
const LIFE_FIELDS = ['prompt_cache_options', 'prompt_cache_breakpoint', 'cache_control'] as const

/**
 * The kinds of tokens by which a request, or a part of it, asks to be written to a prompt cache: for its usual life, and where it asks
 * for another, for longer.
 */
export function cacheWritesIn(part: unknown): readonly TokenKind[] {
  if (!isJson(part)) return NO_KINDS
  return LIFE_FIELDS.map((field) => part[field])
    .filter(isJson)
    .map(({ ttl = null }) => (ttl === null || USUAL_LIVES.has(ttl) ? 'cacheWrite' : 'cacheWriteLong'))
}

const NO_KINDS: readonly TokenKind[] = []
