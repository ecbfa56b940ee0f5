import book from './listed-prices.json' with { type: 'json' }
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

export const BOOK_NAMES: readonly string[] = Object.keys(ENTRIES)

/** `undefined` for a name that it doesn't have. Azure lists OpenAI's models at OpenAI's prices. */
export function bookOf(like: string): BookEntry | undefined {
  if (Object.hasOwn(ENTRIES, like)) return ENTRIES[like]
  const [, model] = /^azure\/(.+)$/.exec(like) ?? []
  const same = `openai/${model}`
  return model !== undefined && Object.hasOwn(ENTRIES, same) ? ENTRIES[same] : undefined
}

/** As OpenAI and Azure name their reasoning models. Chat versions of these models don't reason. */
const REASONING = /^(?:o[1-9]\d*|gpt-(?:[5-9]|\d\d)(?:\.\d+)?)(?!.*chat)(?:-|$)/

/** Whether a model, by the name that its service has for it, takes no `temperature`, and `max_completion_tokens` alone. */
export function isReasoning(model: string): boolean {
  return REASONING.test(model.replace(/^.*\//, ''))
}

/** Families of OpenAI's that are known to count by it. */
const BY_O200K = /^(?:openai|azure)\/(?:gpt-4o|gpt-4\.1|gpt-4\.5|gpt-5|o1|o3|o4)(?:-|$)/

/** The vocabulary of a model of the book; `undefined` where nobody said. */
export function tokenizerOf(like: string): 'o200k_base' | undefined {
  return BY_O200K.test(like) ? 'o200k_base' : undefined
}
