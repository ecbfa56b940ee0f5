import { isJson } from './body.ts'

/* What of a request moves its price, as OpenAI's APIs and those like it name it. */

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

/** Whether a request, or a part of it, asks for another life of what it writes to a prompt cache than the usual. */
export function asksLongLife(part: unknown): boolean {
  if (!isJson(part)) return false
  return LIFE_FIELDS.some((field) => {
    const asked = part[field]
    if (!isJson(asked)) return false
    const { ttl } = asked
    return ttl !== undefined && ttl !== null && !USUAL_LIVES.has(ttl)
  })
}
