import type { Random } from '../simulator/random.ts'
import type { BillCase, Json } from './bill-case.ts'
import { policyPrice } from './policy-price.ts'
import { billOf } from './reckoning.ts'
import type { ModelSheet } from './sheet.ts'

/*
 * A model that bills by itself: it makes up what each call takes, within what the call allows, and reckons from its own price
 * sheet what that costs. What it tells of it is another matter.
 */

/** Made up, with every dimension at once, and a threshold that short prompts pass. */
export const DOUBLE: ModelSheet = {
  sources: [],
  above: 700,
  regional: '1.1',
  tiers: Object.fromEntries(
    (
      [
        ['default', 1],
        ['flex', 0.5],
        ['priority', 2],
      ] as const
    ).map(([tier, by]) => [
      tier,
      {
        short: rates(by, by),
        long: rates(by * 2, by * 1.5),
      },
    ]),
  ),
  tools: { web_search: { usd: '10', calls: 1_000 } },
}
export const DOUBLE_PRICE = policyPrice(DOUBLE)
/** The same as a price that was written before caches were billed: its writes cost what nobody priced. */
export const OLD_PRICE = { ...DOUBLE_PRICE, cachedInput: undefined, cacheWrite: undefined, cacheWriteLong: undefined }

function rates(read: number, written: number) {
  const usd = (each: number, by: number) => String((each * 1_000 * by) / 1_000)
  return {
    input: usd(16, read),
    cachedInput: usd(2, read),
    cacheWrite: usd(20, read),
    cacheWriteLong: usd(32, read),
    output: usd(160, written),
  }
}

/** The most tokens of a prompt, with what a search finds. */
export const CONTEXT_WINDOW = 2_000

/** What becomes of a call. */
export type Outcome =
  /** Answered, and told what it took. */
  | 'told'
  /** Answered, without a word of what it took. */
  | 'untold'
  /** Billed, and then a failure, or no answer at all. */
  | 'failed'
  | 'lost'
  /** Refused by the content filter, which bills the prompt. */
  | 'filtered'
  /** Refused, and not billed. */
  | 'overloaded'

export interface DoubleCall {
  readonly outcome: Outcome
  /** `undefined` where the connection breaks. */
  readonly answer: BillCase['answer'] | undefined
  /** What the provider bills. */
  readonly nanoUsd: bigint
  /** Whether that can be known from the answer. */
  readonly tellsAll: boolean
}

export interface DoubleOptions {
  readonly target: BillCase['target']
  /** Answers each call, and tells what it took. */
  readonly isCalm: boolean
  /** Writes to its cache only where it is asked to. */
  readonly writesAsked?: boolean
  /** Searches the web in each request, once for each choice. */
  readonly searches?: boolean
}

const OUTCOMES: readonly Outcome[] = ['untold', 'failed', 'lost', 'filtered', 'overloaded']

/** @param body what was sent */
export function modelDouble(
  dice: Random,
  body: Json,
  { target, isCalm, writesAsked = false, searches = false }: DoubleOptions,
): DoubleCall {
  const isSearched = searches || 'web_search_options' in body
  const outcome = isCalm || dice.chance(0.8) ? 'told' : dice.pick(OUTCOMES)
  const n = typeof body.n === 'number' ? body.n : 1
  /** Takes the most of everything. */
  const isWorst = dice.chance(0.3)
  const prompt = promptTokens(dice, body, { isWorst, isSearched })
  const isSpilled = target.ptu === true && dice.chance(0.5)
  const headers = isSpilled ? { ...JSON_TYPE, 'x-ms-spillover-from-deployment': 'double-ptu' } : JSON_TYPE
  if (outcome === 'overloaded') {
    const error = { error: { message: 'Overloaded', type: 'server_error', param: null, code: null } }
    return {
      outcome,
      answer: { status: 503, headers: { ...JSON_TYPE, 'retry-after': '1' }, body: error },
      nanoUsd: 0n,
      tellsAll: false,
    }
  }
  if (outcome === 'filtered') {
    const error = { error: { message: 'Filtered', type: null, param: 'prompt', code: 'content_filter', status: 400 } }
    const answer = { status: 400, headers, body: error }
    const call = { target, api: 'chat', asked: body, reserved: { input: prompt, output: 0 }, answer } as const
    return { outcome, answer, nanoUsd: billOf(DOUBLE, call), tellsAll: false }
  }

  const each = Number(body.max_completion_tokens ?? body.max_tokens)
  const outputs = Array.from({ length: n }, () => (isWorst || dice.chance(0.5) ? each : dice.whole(1, each)))
  const output = outputs.reduce((sum, tokens) => sum + tokens, 0)
  const cached = !isWorst && dice.chance(0.5) ? dice.whole(0, prompt) : 0
  const writes = !writesAsked || asksForWrites(body)
  const written = writes && (isWorst || dice.chance(0.6)) ? prompt - cached : 0
  const usage = {
    prompt_tokens: prompt,
    completion_tokens: output,
    total_tokens: prompt + output,
    prompt_tokens_details: { cached_tokens: cached, audio_tokens: 0, cache_write_tokens: written },
    completion_tokens_details: { reasoning_tokens: dice.whole(0, output) },
  }
  const served = tierOf(dice, body.service_tier, { isCalm, isWorst })
  const answer = {
    status: 200,
    headers,
    body: {
      id: 'chatcmpl-double',
      object: 'chat.completion',
      created: 1_790_000_000,
      model: 'double',
      choices: outputs.map((_, index) => ({
        index,
        message: { role: 'assistant', content: 'Because.', refusal: null },
        finish_reason: 'stop',
      })),
      usage,
      ...(served.told === undefined ? {} : { service_tier: served.told }),
    },
  }
  const billed = { ...answer, body: { ...answer.body, service_tier: served.tier } }
  const tools = isSearched ? { web_search: n } : {}
  const nanoUsd = billOf(DOUBLE, { target, api: 'chat', asked: body, answer: billed }) + searchesOf(tools)
  if (outcome === 'lost') return { outcome, answer: undefined, nanoUsd, tellsAll: false }
  if (outcome === 'failed') {
    const error = { error: { message: 'The server had an error', type: 'server_error', param: null, code: null } }
    return {
      outcome,
      answer: { status: dice.pick([500, 502, 504]), headers: JSON_TYPE, body: error },
      nanoUsd,
      tellsAll: false,
    }
  }
  const { usage: _untold, ...silent } = answer.body
  if (outcome === 'untold') return { outcome, answer: { ...answer, body: silent }, nanoUsd, tellsAll: false }
  return { outcome, answer, nanoUsd, tellsAll: served.told !== undefined }
}

/** Nano-dollars that a call can cost at the most. */
export function mostFor(asked: Json): bigint {
  const n = typeof asked.n === 'number' ? asked.n : 1
  const searches = 'web_search_options' in asked
  const input = searches ? CONTEXT_WINDOW : Buffer.byteLength(JSON.stringify(asked)) + 200
  const reserved = { input, output: n * Number(asked.max_completion_tokens), tools: searches ? { web_search: n } : {} }
  const answer = { status: 500, headers: {}, body: {} }
  return billOf(DOUBLE, { target: { kind: 'openai' }, api: 'chat', asked, reserved, answer })
}

const JSON_TYPE = { 'content-type': 'application/json' }

/** A chat's searches, which no answer counts: one for each choice. */
function searchesOf({ web_search: calls = 0 }: { readonly web_search?: number }): bigint {
  return BigInt(calls) * 10_000_000n
}

/** As many as a prompt's bytes may be, and what a template adds; or as many as fit, where what is searched is read too. */
function promptTokens(
  dice: Random,
  body: Json,
  { isWorst, isSearched }: { readonly isWorst: boolean; readonly isSearched: boolean },
): number {
  if (isSearched) return isWorst ? CONTEXT_WINDOW : dice.whole(CONTEXT_WINDOW / 2, CONTEXT_WINDOW)
  const messages = Array.isArray(body.messages) ? body.messages : []
  const bytes = messages.reduce((sum, { content }) => sum + Buffer.byteLength(textOf(content)), 0)
  const most = Math.min(CONTEXT_WINDOW, bytes + 4 * messages.length + 3)
  return isWorst || dice.chance(0.5) ? most : dice.whole(Math.ceil(most / 4), most)
}

function asksForWrites({ messages }: Json): boolean {
  return Array.isArray(messages) && messages.some(({ content }) => Array.isArray(content))
}

function textOf(content: unknown): string {
  if (typeof content === 'string') return content
  return Array.isArray(content) ? content.map(({ text }) => String(text ?? '')).join('') : ''
}

/**
 * What serves, and whether that is told: what was asked for, or the usual, which is cheaper than some and dearer than others; for
 * `auto` any of them, which is always told.
 */
function tierOf(
  dice: Random,
  asked: unknown,
  { isCalm, isWorst }: { readonly isCalm: boolean; readonly isWorst: boolean },
): { readonly tier: string; readonly told: string | undefined } {
  if (asked === 'auto') {
    const tier = isWorst ? 'priority' : dice.pick(Object.keys(DOUBLE.tiers))
    return { tier, told: tier }
  }
  const wanted = asked === 'fast' ? 'priority' : asked
  const isNamed = typeof wanted === 'string' && wanted in DOUBLE.tiers
  const tier = isNamed && (isWorst || dice.chance(0.7)) ? wanted : 'default'
  return { tier, told: isCalm || dice.chance(0.8) ? tier : undefined }
}

/** A whole answer as the events in which a service streams it: its usage in the last one. */
export function eventsOf(answer: Json): string[] {
  const { id, created, model, service_tier, usage } = answer
  const choices = answer.choices as readonly {
    readonly index: number
    readonly message: { readonly content: string }
  }[]
  const tier = service_tier === undefined ? {} : { service_tier }
  const chunk = (change: object) =>
    `data: ${JSON.stringify({ id, object: 'chat.completion.chunk', created, model, ...tier, ...change })}\n\n`
  const delta = (index: number, delta: object, finish_reason: string | null) =>
    chunk({ choices: [{ index, delta, finish_reason }] })
  return [
    ...choices.map(({ index, message }) => delta(index, { role: 'assistant', content: message.content }, null)),
    ...choices.map(({ index }) => delta(index, {}, 'stop')),
    ...(usage === undefined ? [] : [chunk({ choices: [], usage })]),
    'data: [DONE]\n\n',
  ]
}

/** A request of somebody who sets what moves the price as they like. */
export function anyRequest(dice: Random, { large }: { readonly large: boolean }): Json {
  const text = `${dice.next()} `.repeat(dice.whole(1, large ? 150 : 10))
  const ttl = dice.chance(0.2) ? '12h' : '30m'
  const part = { type: 'text', text, prompt_cache_breakpoint: { mode: 'explicit', ttl } }
  return {
    messages: [{ role: 'user', content: dice.chance(0.3) ? [part] : text }],
    max_completion_tokens: dice.whole(16, large ? 900 : 60),
    ...(dice.chance(0.4) ? { n: dice.whole(2, large ? 4 : 2) } : {}),
    ...(dice.chance(0.6) ? { service_tier: dice.pick(['flex', 'priority', 'fast', 'default', 'auto']) } : {}),
    ...(large && dice.chance(0.2) ? { web_search_options: {} } : {}),
  }
}
