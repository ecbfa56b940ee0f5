/*
 * Fields of a request that are known to move its bill, at one service or another, by what the prices of tokens, tiers and hosted tools
 * don't say. Where money is limited they are refused by name, unless the model's price says that it covers them. Fields that nobody has
 * heard of pass, and are settled by what the answer tells.
 */

/** What such a field moves: which `model` answers, which `tools` the service runs, or the `rate` of tokens. */
export type FieldMoves = 'model' | 'tools' | 'rate'

interface PricedField {
  readonly moves: FieldMoves
  /** What it buys, to follow "which may". */
  readonly buys: string
}

const moving =
  (moves: FieldMoves) =>
  (buys: string): PricedField => ({ moves, buys })
const [model, tools, rate] = [moving('model'), moving('tools'), moving('rate')]

const FIELDS = {
  // OpenRouter: other models, by order or by a name; providers with prices of their own; and hosted tools.
  models: model('choose another model'),
  route: model('choose another model'),
  preset: model('choose another model'),
  provider: rate('choose a dearer provider'),
  plugins: tools('search the web, or read files'),
  // LiteLLM's proxy and Vercel's gateway: models to fall back on.
  fallbacks: model('choose another model'),
  context_window_fallbacks: model('choose another model'),
  content_policy_fallbacks: model('choose another model'),
  providerOptions: model('choose another model'),
  // Groq's compound systems choose models and tools by it.
  compound_custom: model('choose another model'),
  // A search of the web, by xAI, Qwen, Baidu and Tencent.
  search_parameters: tools('search the web'),
  enable_search: tools('search the web'),
  search_options: tools('search the web'),
  web_search: tools('search the web'),
  enable_enhancement: tools('search the web'),
  // Azure's search in documents asks the model several times.
  data_sources: tools('search documents'),
  // Anthropic's: servers of tools, and what tokens cost.
  mcp_servers: tools('call tools'),
  speed: rate('raise the price of tokens'),
  inference_geo: rate('raise the price of tokens'),
  // Qwen's: what a model writes after it has thought is dearer.
  enable_thinking: rate('raise the price of tokens'),
} as const satisfies Readonly<Record<string, PricedField>>

export const PRICED_FIELDS: ReadonlyMap<string, PricedField> = new Map(Object.entries(FIELDS))
export const PRICED_FIELD_NAMES = Object.keys(FIELDS) as [keyof typeof FIELDS, ...(keyof typeof FIELDS)[]]

/** The fields of a request that buy something so. One that says no (`null`, `false`, an empty list, a search that is off) buys nothing. */
export function pricedFields(body: Readonly<Record<string, unknown>>): readonly string[] {
  return Object.keys(body).filter((field) => PRICED_FIELDS.has(field) && isAsked(field, body[field]))
}

/** How their services' pages say that a search is off. */
const OFF: Readonly<Record<string, readonly [field: string, value: unknown]>> = {
  search_parameters: ['mode', 'off'],
  web_search: ['enable', false],
}

function isAsked(field: string, value: unknown): boolean {
  if (value === undefined || value === null || value === false) return false
  if (Array.isArray(value)) return value.length > 0
  const [switchedBy, off] = OFF[field] ?? []
  return switchedBy === undefined || Object(value)[switchedBy] !== off
}
