import * as z from 'zod'
import { isWritten, PRICED_FIELD_NAMES, type Price, type Rates, type TokenRates } from '../pipeline/index.ts'
import { listText, name } from './names.ts'
import { BOOK_NAMES, bookOf, nearBookNames } from './price-book.ts'

/* A price: its grammar, and what it comes to in whole pico-dollars. */

/** USD per million tokens. No finer than six decimals, so that a token's price is a whole number of pico-dollars. */
const dollars = z
  .number()
  .min(0)
  .max(10_000)
  .refine((usd) => hasDecimals(usd, 6), 'must have at most 6 decimals: it is dollars per million tokens')

/** A multiple of a price. No finer than three decimals, so that it is a whole number of thousandths. */
const multiple = z
  .number()
  .min(0)
  .max(100)
  .refine((times) => hasDecimals(times, 3), 'must have at most 3 decimals: it multiplies a price')

const perCall = z
  .number()
  .min(0)
  .max(1_000)
  .refine((usd) => hasDecimals(usd, 9), 'must have at most 9 decimals: it is dollars a call')

function hasDecimals(value: number, decimals: number): boolean {
  return Math.round(value * 10 ** decimals) / 10 ** decimals === value
}

const MULTIPLE = /^(\d{1,3}(?:\.\d{1,3})?)x$/

const above = z
  .union([dollars, z.string().regex(MULTIPLE, 'must be a multiple such as 2x')], {
    error: 'must be a multiple such as 2x, or dollars per million tokens',
  })
  .optional()

/** Kinds of tokens that a price may name, each with what it says. */
const KINDS = {
  input: 'What the model reads.',
  output: 'What the model writes.',
  cachedInput: "What the model reads from its provider's cache (as input).",
  cacheWrite: "What is written to its provider's cache, as all other kinds: the highest price here by default.",
  cacheWriteLong: 'The same, to be kept longer than usual.',
  audioInput: 'Sound that the model reads.',
  imageInput: 'Images that the model reads.',
  audioOutput: 'Sound that the model makes.',
  imageOutput: 'Images that the model makes.',
} as const
type Kind = keyof typeof KINDS
const KIND_NAMES = Object.keys(KINDS) as Kind[]

function fieldsOf<Field extends z.ZodType>(field: Field): Record<Kind, Field> {
  return Object.fromEntries(KIND_NAMES.map((kind) => [kind, field.describe(KINDS[kind])])) as Record<Kind, Field>
}

const rates = {
  ...fieldsOf(dollars.optional()),
  above: z
    .strictObject({
      tokens: z
        .int()
        .min(1)
        .max(100_000_000)
        .describe('The most tokens of a prompt that are still at the other price.'),
      ...fieldsOf(above),
    })
    .optional()
    .describe(
      'What a request costs, all of it, whose prompt has more tokens than this: {tokens: 272000, input: 2x, output: 1.5x}. ' +
        'A kind that it leaves out is multiplied as input or output is.',
    ),
}

export const price = z
  .strictObject({
    ...rates,
    like: z
      .string()
      .max(128)
      .optional()
      .describe('A model of the price book, such as openai/gpt-5-mini: what else is written here is in its place.'),
    tiers: z
      .record(
        name,
        z.union([multiple, z.strictObject(rates)], {
          error: 'must be a multiple such as 0.5, or prices such as {input: 1, output: 8}',
        }),
      )
      .optional()
      .describe(
        'Service tiers that may be used, and how many times as much tokens cost there: {flex: 0.5, priority: 2}.',
      ),
    zone: multiple.optional().describe('How many times as much tokens cost at targets that name a zone (1).'),
    tools: z
      .record(name, perCall)
      .optional()
      .describe('Hosted tools that may be used, and the dollars for a call of each: {web_search: 0.01}.'),
    covers: z
      .array(z.enum(PRICED_FIELD_NAMES))
      .max(PRICED_FIELD_NAMES.length)
      .optional()
      .describe(
        'Fields that move a bill otherwise, and may be used, since the prices here are the most that they make it: [enable_thinking].',
      ),
  })
  .describe('USD per million tokens, with at most 6 decimals.')

export type PriceDocument = z.infer<typeof price>
type RatesDocument = Pick<PriceDocument, Kind | 'above'>

/** A price as the book has it, in the policy's words. */
export type BookPrice = Omit<PriceDocument, 'like'>

/** What is wrong with a price that its form allows. @param at its path */
export function priceFaults(document: PriceDocument, at: string): string[] {
  const { like, tiers = {}, ...own } = document
  if (like !== undefined && bookOf(like) === undefined) return [unknownName(like, at)]
  const faults = ratesFaults(withBook(document), at)
  const stale = like !== undefined && own.above === undefined && KIND_NAMES.some((kind) => own[kind] !== undefined)
  if (stale && bookOf(like)?.price.above !== undefined) {
    faults.push(
      `${at}.above: missing. The price of '${like}' has one, which is not of the prices here. Write for instance above: {tokens: 272000, input: 2x, output: 1.5x}.`,
    )
  }
  for (const [tier, rates] of Object.entries(tiers)) {
    if (typeof rates === 'object') faults.push(...ratesFaults(rates, `${at}.tiers.${tier}`))
  }
  return faults
}

function ratesFaults(rates: RatesDocument, at: string): string[] {
  const faults: string[] = []
  for (const [kind, example] of [
    ['input', '0.15'],
    ['output', '0.60'],
  ] as const) {
    if (rates[kind] !== undefined) continue
    faults.push(`${at}.${kind}: missing. Write for instance ${kind}: ${example}, the dollars per million tokens.`)
  }
  const { input, cachedInput, above } = rates
  // A request is charged `input` for all of its prompt before the provider says what was cached.
  if (input !== undefined && cachedInput !== undefined && cachedInput > input) {
    faults.push(`${at}.cachedInput: must not be above input. Raise input or lower cachedInput.`)
  }
  if (above !== undefined) faults.push(...aboveFaults(rates, above, `${at}.above`))
  return faults
}

function aboveFaults(rates: RatesDocument, above: NonNullable<RatesDocument['above']>, at: string): string[] {
  const faults: string[] = []
  for (const kind of KIND_NAMES) {
    const side = isWritten(kind) ? 'output' : 'input'
    if (above[kind] !== undefined && rates[kind] === undefined) {
      faults.push(`${at}.${kind}: has no price below it. Write it beside 'above' too.`)
    }
    // What one kind's dollars are to another kind's, nobody said.
    if (rates[kind] !== undefined && above[kind] === undefined && typeof above[side] === 'number') {
      faults.push(
        `${at}.${kind}: missing. With ${side} in dollars, write each kind's dollars, or a multiple such as 2x.`,
      )
    }
  }
  return faults
}

function unknownName(like: string, at: string): string {
  const [provider = ''] = like.split('/')
  const meant = nearBookNames(like).map((name) => `'${name}'`)
  const hint = meant.length === 0 ? '' : ` Did you mean ${listText(meant, 'or')}?`
  const named = BOOK_NAMES.filter((name) => name.startsWith(`${provider}/`)).length
  const providers = [...new Set(BOOK_NAMES.map((name) => `${name.split('/')[0]}/…`))]
  const list =
    named > 0
      ? `npm run tollgate -- prices --book ${provider}/ lists the ${named} that it has.`
      : `It has: ${providers.join(', ')}.`
  return `${at}.like: the price book has no '${like}'.${hint} ${list}`
}

/** A price with what the book says in the place of what it leaves out. */
function withBook({ like, ...own }: PriceDocument): Omit<PriceDocument, 'like'> {
  const book = like === undefined ? undefined : bookOf(like)?.price
  if (book === undefined) return own
  const given = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined))
  const tools = own.tools === undefined ? book.tools : { ...book.tools, ...own.tools }
  return { ...book, ...given, ...(tools === undefined ? {} : { tools }) }
}

/** One USD per million tokens is a millionth of a dollar a token, which is a million pico-dollars. */
const PICO_IN_MILLIONTH = 1e6
const PICO_IN_DOLLAR = 1e12
const THOUSAND = 1_000

/** A price in whole numbers. @param document one without faults */
export function resolvePrice(document: PriceDocument): Price {
  const { tiers, zone, tools, covers, ...own } = withBook(document)
  return {
    ...resolveRates(own),
    ...(tiers === undefined ? {} : { tiers: mapped(tiers, (tier) => resolveTier(tier)) }),
    ...(zone === undefined ? {} : { zone: thousandths(zone) }),
    ...(tools === undefined ? {} : { tools: mapped(tools, (usd) => Math.round(usd * PICO_IN_DOLLAR)) }),
    ...(covers === undefined ? {} : { covers }),
  }
}

/** What the book says of a model, in whole numbers. @throws where it has none */
export function listedPrice(like: string): Price {
  if (bookOf(like) === undefined) throw new RangeError(`The price book has no '${like}'`)
  return resolvePrice({ like })
}

function resolveTier(tier: number | RatesDocument): number | TokenRates {
  return typeof tier === 'number' ? thousandths(tier) : resolveRates(tier)
}

function resolveRates({ above, ...stated }: RatesDocument): TokenRates {
  const rates: Record<string, number> = {}
  for (const kind of KIND_NAMES) {
    const usd = stated[kind] ?? (kind === 'cachedInput' ? stated.input : undefined)
    if (usd !== undefined) rates[kind] = picoOf(usd)
  }
  return { rates, ...(above === undefined ? {} : { above: resolveAbove(rates, above) }) }
}

function resolveAbove(rates: Rates, above: NonNullable<RatesDocument['above']>): NonNullable<TokenRates['above']> {
  const long: Record<string, number> = {}
  for (const kind in rates) {
    const said = above[kind as Kind] ?? above[isWritten(kind) ? 'output' : 'input'] ?? '1x'
    const [, times = '1'] = MULTIPLE.exec(String(said)) ?? []
    long[kind] = typeof said === 'number' ? picoOf(said) * THOUSAND : (rates[kind] ?? 0) * thousandths(Number(times))
  }
  return { tokens: above.tokens, rates: long, perPico: THOUSAND }
}

function picoOf(usdPerMillion: number): number {
  return Math.round(usdPerMillion * PICO_IN_MILLIONTH)
}

function thousandths(times: number): number {
  return Math.round(times * THOUSAND)
}

function mapped<From, To>(map: Readonly<Record<string, From>>, to: (from: From) => To): Record<string, To> {
  return Object.fromEntries(Object.entries(map).map(([name, each]) => [name, to(each)]))
}

/**
 * The highest of each kind, long prompts included, with nothing cheaper for being cached, and no tier or hosted tool;
 * `undefined` where there is no price.
 */
export function highestPrice(prices: readonly Price[]): Price | undefined {
  if (prices.length === 0) return undefined
  const highest: Record<string, number> = {}
  const raise = (rates: Rates, perPico: number) => {
    for (const kind in rates) highest[kind] = Math.max(highest[kind] ?? 0, Math.ceil((rates[kind] ?? 0) / perPico))
  }
  for (const { rates, above } of prices) {
    raise(rates, 1)
    if (above !== undefined) raise(above.rates, above.perPico)
  }
  return { rates: { ...highest, cachedInput: highest.input ?? 0 } }
}
