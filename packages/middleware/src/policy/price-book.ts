import type { ModelRules, Unasked } from '../pipeline/index.ts'
import book from './listed-prices.json' with { type: 'json' }
import { closestNames, listText } from './names.ts'
import type { BookPrice } from './price.ts'

/** What the book says of a model. */
export interface BookEntry {
  readonly price: BookPrice
  /** The most tokens of one request; left out where the source doesn't say. */
  readonly contextWindow?: number
}

/**
 * Models by `provider/model`, and their list prices, in the policy's words. Made by `npm run prices` from
 * `@pydantic/genai-prices`, whose day of release it bears: see packages/workshop/src/price-book.ts.
 */
const ENTRIES: Readonly<Record<string, BookEntry>> = book.models

/** The day of the prices, `YYYY-MM-DD`. */
export const BOOK_DATE: string = book.date
/** What the prices were taken from. */
export const BOOK_SOURCE: string = book.source

/** All names that a `like` may have: Azure lists OpenAI's models at OpenAI's prices. */
export const BOOK_NAMES: readonly string[] = [
  ...new Set([...Object.keys(ENTRIES), ...Object.keys(ENTRIES).map((name) => name.replace(/^openai\//, 'azure/'))]),
]

/** `undefined` for a name that it doesn't have. */
export function bookOf(like: string): BookEntry | undefined {
  const own = [like, like.replace(/^azure\//, 'openai/')].find((name) => Object.hasOwn(ENTRIES, name))
  return own === undefined ? undefined : ENTRIES[own]
}

/**
 * What was most likely meant by a name that the book doesn't have, at most three: of the same provider before others', and of a
 * model with a date behind it, as services name them, the model.
 */
export function nearBookNames(like: string): readonly string[] {
  const ofProvider = BOOK_NAMES.filter((name) => like.includes('/') && name.split('/')[0] === like.split('/')[0])
  const nearest = [
    () => nearModels(modelOf(like), ofProvider),
    () => closestNames(like, BOOK_NAMES),
    () => nearModels(modelOf(like), BOOK_NAMES),
  ]
  for (const find of nearest) {
    const found = find()
    if (found.length > 0) return found.slice(0, 3)
  }
  return []
}

const DATE_BEHIND = /-(?:\d{4}-\d\d-\d\d|\d{4,8}|latest)$/

function nearModels(model: string, names: readonly string[]): readonly string[] {
  const models = [...new Set(names.map(modelOf))]
  const undated = model.replace(DATE_BEHIND, '')
  const found = models.includes(undated) ? [undated] : closestNames(model, models)
  const longer = models.filter((each) => model !== '' && each.startsWith(model))
  const near = new Set(found.length > 0 ? found : longer)
  return names.filter((name) => near.has(modelOf(name)))
}

function modelOf(name: string): string {
  return name.slice(name.indexOf('/') + 1)
}

const DAY_MS = 86_400_000
/** Providers change their prices a few times a year. */
const OLD_DAYS = 60

/** Whole days since the day of the prices. @param now milliseconds since 1970 */
export function bookAgeDays(now: number): number {
  return Math.max(0, Math.floor((now - Date.parse(BOOK_DATE)) / DAY_MS))
}

/**
 * What an operator is told, once, of a book that is older than 60 days; `undefined` where it is younger, or where no model has its
 * price from it.
 *
 * @param models those that have
 * @param now milliseconds since 1970
 */
export function oldBookText(models: readonly string[], now: number): string | undefined {
  const days = bookAgeDays(now)
  if (models.length === 0 || days <= OLD_DAYS) return undefined
  return (
    `the price book is of ${BOOK_DATE}, ${days} days old, and prices ${listText(models)}. Compare with the provider's list: a newer ` +
    'Tollgate has a newer book, and what is written under models.<name>.price goes before it.'
  )
}

/** As OpenAI and Azure name their reasoning models. Chat versions of these models don't reason. */
const REASONING = /^(?:o[1-9]\d*|gpt-(?:[5-9]|\d\d)(?:\.\d+)?)(?!.*chat)(?:-|$)/

/** Whether a model, by the name that its service has for it, takes no `temperature`, and `max_completion_tokens` alone. */
export function isReasoning(model: string): boolean {
  return REASONING.test(model.replace(/^.*\//, ''))
}

/** Providers of the book whose services know no other word for the bound of an answer. */
const KNOW_MAX_TOKENS = /^(?:mistral|deepseek|cohere)\//

/** The field by which a model bounds its answers, by the name that its service or the book has for it; `undefined` where any serves. */
export function outputFieldOf(model: string): ModelRules['outputField'] | undefined {
  if (isReasoning(model)) return 'max_completion_tokens'
  return KNOW_MAX_TOKENS.test(model) ? 'max_tokens' : undefined
}

/** Models that search the web in each request: OpenAI's, Perplexity's, and OpenRouter's variants of any. */
const SEARCHES_ONCE = /-search-(?:preview|api)(?:-|$)|^sonar(?:-|$)|:online$/
/** One that goes on searching. */
const SEARCHES_OFTEN = /^sonar-deep-research(?:-|$)/

/**
 * What a model bills unasked.
 *
 * @param names that its service and the book have for it
 */
export function unaskedOf(names: readonly string[]): Unasked | undefined {
  const bare = names.map((name) => name.replace(/^.*\//, ''))
  const some = (pattern: RegExp) => bare.some((name) => pattern.test(name))
  const searches = some(SEARCHES_OFTEN) ? 'often' : some(SEARCHES_ONCE) ? 'once' : undefined
  const writes = names.some((name) => (bookOf(name) ?? bookOf(`openai/${name}`))?.price.cacheWrite !== undefined)
  if (searches === undefined && !writes) return undefined
  return { ...(searches && { searches }), ...(writes && { kinds: ['cacheWrite'] }) }
}

/** Families of OpenAI's that are known to count by it. */
const BY_O200K = /^(?:openai|azure)\/(?:gpt-4o|gpt-4\.1|gpt-4\.5|gpt-5|o1|o3|o4)(?:-|$)/

/** The vocabulary of a model of the book; `undefined` where nobody said. */
export function tokenizerOf(like: string): 'o200k_base' | undefined {
  return BY_O200K.test(like) ? 'o200k_base' : undefined
}
