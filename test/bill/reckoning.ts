/*
 * The second reckoning: what a provider bills for a call, by its price sheet, in exact fractions. It shares no code with the
 * gateway and no price file, and doesn't look at the price that a case has in the policy's grammar.
 */
import { type BillCase, field, type Json, type Reserved } from './bill-case.ts'
import { ceiling, decimal, dividedBy, type Fraction, isLess, plus, times, whole, ZERO } from './fraction.ts'
import { KINDS, type Kind, type ModelSheet, type Rates } from './sheet.ts'

const MILLION = whole(1_000_000)
const NANO = whole(1_000_000_000)

/** Tokens of each kind, and those of kinds that no sheet prices. */
interface Taken {
  readonly tokens: Readonly<Partial<Record<Kind | 'unknown', number>>>
  readonly tools: Readonly<Record<string, number>>
}

type Call = Omit<BillCase, 'id' | 'about' | 'price' | 'sheet' | 'nanoUsd'>

/** Whole nano-dollars: the exact sum over all that was taken, rounded up once. */
export function billOf(sheet: ModelSheet, call: Call): bigint {
  const { status, headers } = call.answer
  if (status >= 200 && status <= 299) {
    const taken = takenOf(call)
    return taken === undefined ? worstOf(sheet, call) : costOf(sheet, call, servedBy(sheet, call), taken)
  }
  if (isFiltered(call)) {
    return costOf(sheet, call, 'default', { tokens: { input: reservedOf(call).input }, tools: {} })
  }
  return isUnspent(status, headers) ? 0n : worstOf(sheet, call)
}

function costOf(sheet: ModelSheet, call: Call, tier: string, { tokens, tools }: Taken): bigint {
  const rates = ratesOf(sheet, tier, inputOf(tokens))
  const all = Object.entries(tokens).reduce((sum, [kind, count]) => plus(sum, ofTokens(rates, kind, count)), ZERO)
  const { ptu, zone } = call.target
  const isPaidFor = ptu === true && !wasSpilledOver(call.answer.headers)
  const factor = isPaidFor ? ZERO : decimal(zone === undefined ? '1' : (sheet.regional ?? '1'))
  const calls = Object.entries(tools).reduce((sum, [tool, count]) => plus(sum, ofCalls(sheet, tool, count)), ZERO)
  return ceiling(times(plus(times(all, factor), calls), NANO))
}

function ofTokens(rates: Rates, kind: string, count: number): Fraction {
  const rate = kind === 'unknown' ? highest(rates) : rateOf(rates, kind as Kind)
  return dividedBy(times(whole(count), rate), MILLION)
}

function ofCalls({ tools }: ModelSheet, name: string, count: number): Fraction {
  const tool = tools?.[name]
  if (tool === undefined) throw new RangeError(`The sheet has no price for the tool '${name}'`)
  return dividedBy(times(whole(count), decimal(tool.usd)), whole(tool.calls))
}

/** A kind that a sheet doesn't price apart is billed as what it is a part of. */
function rateOf(rates: Rates, kind: Kind): Fraction {
  const told = rates[kind]
  if (told !== undefined) return decimal(told)
  if (kind === 'cacheWriteLong') return rateOf(rates, 'cacheWrite')
  return decimal(kind === 'audioOutput' ? rates.output : rates.input)
}

function highest(rates: Rates): Fraction {
  return KINDS.map((kind) => rateOf(rates, kind)).reduce((most, rate) => (isLess(most, rate) ? rate : most))
}

function ratesOf(sheet: ModelSheet, tier: string, input: number): Rates {
  const rates = sheet.tiers[tier]
  if (rates === undefined) throw new RangeError(`The sheet has no tier '${tier}'`)
  const isLong = sheet.above !== undefined && input > sheet.above
  if (!isLong) return rates.short
  if (rates.long === undefined) throw new RangeError(`The sheet has no long rates for '${tier}'`)
  return rates.long
}

/** All input tokens count towards the threshold, cached ones too. */
function inputOf(tokens: Taken['tokens']): number {
  const { input = 0, cachedInput = 0, cacheWrite = 0, cacheWriteLong = 0, audioInput = 0 } = tokens
  return input + cachedInput + cacheWrite + cacheWriteLong + audioInput
}

/**
 * The tier that the answer says. Where it says none, the one that was asked for, and not less than the standard price; where it
 * says one that nobody priced, the dearest.
 */
function servedBy(sheet: ModelSheet, { asked, answer: { body } }: Call): string {
  const told = tierNamed(sheet, body.service_tier)
  return told ?? dearest(sheet, ['default', tierNamed(sheet, asked.service_tier) ?? 'default'])
}

function tierNamed(sheet: ModelSheet, name: unknown): string | undefined {
  if (name === undefined || name === null) return undefined
  if (name === 'auto' || name === 'default') return 'default'
  return typeof name === 'string' && name in sheet.tiers ? name : dearest(sheet, Object.keys(sheet.tiers))
}

function dearest({ tiers }: ModelSheet, among: readonly string[]): string {
  const input = (tier: string) => decimal(tiers[tier]?.short.input ?? '0')
  return among.reduce((most, tier) => (isLess(input(most), input(tier)) ? tier : most))
}

function takenOf({ api, asked, answer: { body } }: Call): Taken | undefined {
  const { usage } = body
  if (typeof usage !== 'object' || usage === null) return undefined
  const tokens = api === 'responses' ? ofResponses(usage) : ofChat(usage, asked)
  return { tokens, tools: api === 'responses' ? hostedTools(body) : {} }
}

const count = (of: unknown, name: string): number => {
  const told = field(of, name)
  return typeof told === 'number' ? told : 0
}

/** Details that only say more of tokens that have the price of what they are a part of. */
const ANNOTATIONS = new Set([
  'text_tokens',
  'reasoning_tokens',
  'accepted_prediction_tokens',
  'rejected_prediction_tokens',
])
const PRICED = new Set(['cached_tokens', 'cache_write_tokens', 'audio_tokens'])

function unknownIn(details: unknown): number {
  return Object.entries((details ?? {}) as Json)
    .filter(([name, told]) => typeof told === 'number' && !ANNOTATIONS.has(name) && !PRICED.has(name))
    .reduce((sum, [, told]) => sum + Number(told), 0)
}

/** OpenAI's chat and embeddings, and DeepSeek's: details are parts of the sums. */
function ofChat(usage: object, asked: Json): Taken['tokens'] {
  const prompt = field(usage, 'prompt_tokens_details')
  const completion = field(usage, 'completion_tokens_details')
  const cachedInput = count(prompt, 'cached_tokens') || count(usage, 'prompt_cache_hit_tokens')
  const written = count(prompt, 'cache_write_tokens')
  const audioInput = count(prompt, 'audio_tokens')
  const audioOutput = count(completion, 'audio_tokens')
  const [unknownInput, unknownOutput] = [unknownIn(prompt), unknownIn(completion)]
  const isLong = asksLongLife(asked)
  const [completed, total] = [count(usage, 'completion_tokens'), count(usage, 'total_tokens')]
  return {
    input: count(usage, 'prompt_tokens') - cachedInput - written - audioInput - unknownInput,
    cachedInput,
    [isLong ? 'cacheWriteLong' : 'cacheWrite']: written,
    audioInput,
    // Some services leave out of it what a model thought, and count that in the total.
    output: Math.max(completed, total - count(usage, 'prompt_tokens')) - audioOutput - unknownOutput,
    audioOutput,
    unknown: unknownInput + unknownOutput,
  }
}

/** Chat doesn't tell which writes are kept for long: then all are, if the request asks for any. */
function asksLongLife({ prompt_cache_options: options, messages }: Json): boolean {
  const parts = (Array.isArray(messages) ? messages : []).flatMap((message) => field(message, 'content') ?? [])
  const lives = [options, ...parts.map((part) => field(part, 'prompt_cache_breakpoint'))].map((of) => field(of, 'ttl'))
  return lives.includes('12h')
}

function ofResponses(usage: object): Taken['tokens'] {
  const details = field(usage, 'input_tokens_details')
  const cachedInput = count(details, 'cached_tokens')
  const written = count(details, 'cache_write_tokens')
  const cacheWriteLong = count(field(details, 'cache_write_tokens_details'), 'ttl_12h_tokens')
  const unknownInput = unknownIn(details)
  const unknownOutput = unknownIn(field(usage, 'output_tokens_details'))
  return {
    input: count(usage, 'input_tokens') - cachedInput - written - unknownInput,
    cachedInput,
    cacheWrite: written - cacheWriteLong,
    cacheWriteLong,
    output: count(usage, 'output_tokens') - unknownOutput,
    unknown: unknownInput + unknownOutput,
  }
}

/** Searches that are billed, where the answer tells them; else each call that is among its items. */
function hostedTools(body: Json): Readonly<Record<string, number>> {
  const items = Array.isArray(body.output) ? body.output : []
  const calls = (type: string) => items.filter((item) => field(item, 'type') === type && !isLook(item)).length
  const billed = field(field(body.tool_usage, 'web_search'), 'num_requests')
  return Object.fromEntries(
    Object.entries({
      web_search: typeof billed === 'number' ? billed : calls('web_search_call'),
      file_search: calls('file_search_call'),
    }).filter(([, calls]) => calls > 0),
  )
}

/** Opening a page that was found, and looking for something in it, are no searches. */
function isLook(item: unknown): boolean {
  const action = field(field(item, 'action'), 'type')
  return action === 'open_page' || action === 'find_in_page'
}

function wasSpilledOver(headers: Readonly<Record<string, string>>): boolean {
  return Object.keys(headers).some((name) => name.startsWith('x-ms-spillover-from-'))
}

function isFiltered({ answer: { status, body } }: Call): boolean {
  return status === 400 && field(body.error, 'code') === 'content_filter'
}

/** What a server says that it has not processed. */
function isUnspent(status: number, headers: Readonly<Record<string, string>>): boolean {
  if (status === 503 || status === 529) return headers['retry-after'] !== undefined
  return (status >= 400 && status < 500 && ![408, 444, 460, 499].includes(status)) || status === 501 || status === 505
}

function reservedOf({ reserved }: Call): Reserved {
  if (reserved === undefined) throw new RangeError('This case must say what was reserved')
  return reserved
}

/**
 * All that was reserved, at the highest rate that each token of it could have had: whatever tier may serve a request that names
 * none, or is served in the place of the one that it names.
 */
function worstOf(sheet: ModelSheet, call: Call): bigint {
  const { input, output, tools = {} } = reservedOf(call)
  const { service_tier: asked } = call.asked
  const isOpen = asked === undefined || asked === null || asked === 'auto'
  const tier = dearest(sheet, [
    'default',
    ...(isOpen ? Object.keys(sheet.tiers) : [tierNamed(sheet, asked) ?? 'default']),
  ])
  const rates = ratesOf(sheet, tier, input)
  const isLong = asksLongLife(call.asked)
  const kinds: Kind[] = isLong ? ['input', 'cacheWrite', 'cacheWriteLong'] : ['input', 'cacheWrite']
  const dear = kinds.reduce((most, kind) => (isLess(rateOf(rates, most), rateOf(rates, kind)) ? kind : most))
  return costOf(sheet, call, tier, { tokens: { [dear]: input, output }, tools })
}
