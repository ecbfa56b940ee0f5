/*
 * `node test/bill/generate.ts` writes the fixtures; with `--check` it says which are not what it would write. The same seed
 * makes the same cases.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Random, random } from '../simulator/random.ts'
import type { BillCase, Json } from './bill-case.ts'
import { policyPrice } from './policy-price.ts'
import { billOf } from './reckoning.ts'
import { sheetOf } from './sheet.ts'

const SEED = 16

type Draft = Omit<BillCase, 'id' | 'about' | 'price' | 'nanoUsd' | 'target'> & Partial<Pick<BillCase, 'target'>>

/** Some cases about one thing, of one file. */
interface Group {
  readonly file: string
  readonly about: string
  readonly count: number
  readonly draft: (dice: Random, index: number) => Draft
}

/* Counts */

/** From 0 or 1 to hundreds of thousands: each magnitude is as likely. */
const tokens = (dice: Random, least = 1, most = 200_000) =>
  dice.whole(least, dice.pick([9, 99, 999, 9_999, 99_999, 199_999].filter((size) => size < most).concat(most)))
/** A part of it, none and all of it included. */
const part = (dice: Random, all: number) => (dice.chance(0.1) ? all : dice.chance(0.1) ? 0 : dice.whole(0, all))

/* Bodies, as the services send them */

const hex = (dice: Random, length: number) => Array.from({ length }, () => dice.whole(0, 15).toString(16)).join('')
const CREATED = 1_790_000_000

interface ChatParts {
  readonly model: string
  readonly usage: Json | null | undefined
  readonly n?: number
  readonly tier?: string | null | undefined
  readonly more?: Json
}

function chatBody(dice: Random, { model, usage, n = 1, tier, more = {} }: ChatParts): Json {
  // A text has tokens, and what has none is empty.
  const content = usage?.completion_tokens === 0 ? '' : 'Because.'
  return {
    id: `chatcmpl-${hex(dice, 24)}`,
    object: 'chat.completion',
    created: CREATED + dice.whole(0, 5_000_000),
    model,
    choices: Array.from({ length: n }, (_, index) => ({
      index,
      message: { role: 'assistant', content, refusal: null, annotations: [] },
      logprobs: null,
      finish_reason: 'stop',
    })),
    ...(usage === undefined ? {} : { usage }),
    ...(tier === undefined ? {} : { service_tier: tier }),
    system_fingerprint: `fp_${hex(dice, 10)}`,
    ...more,
  }
}

function chatUsage(prompt: number, completion: number, of: Json = {}, to: Json = {}): Json {
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0, ...of },
    completion_tokens_details: {
      reasoning_tokens: 0,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
      ...to,
    },
  }
}

interface ResponseParts {
  readonly model: string
  readonly usage: Json | null
  readonly tier?: string | undefined
  readonly output?: readonly Json[]
  readonly more?: Json
}

function responseBody(dice: Random, { model, usage, tier, output = [], more = {} }: ResponseParts): Json {
  const message = {
    id: `msg_${hex(dice, 32)}`,
    type: 'message',
    status: 'completed',
    role: 'assistant',
    content: [{ type: 'output_text', text: 'Because.', annotations: [] }],
  }
  return {
    id: `resp_${hex(dice, 32)}`,
    object: 'response',
    created_at: CREATED + dice.whole(0, 5_000_000),
    status: 'completed',
    error: null,
    incomplete_details: null,
    model,
    output: [...output, message],
    store: false,
    ...(tier === undefined ? {} : { service_tier: tier }),
    usage,
    ...more,
  }
}

interface ResponseUsage {
  readonly cached?: number
  readonly short?: number
  readonly long?: number
  readonly reasoning?: number
}

function responseUsage(input: number, output: number, told: ResponseUsage = {}): Json {
  const { cached = 0, short = 0, long = 0, reasoning = 0 } = told
  return {
    input_tokens: input,
    input_tokens_details: {
      cached_tokens: cached,
      cache_write_tokens: short + long,
      ...(long > 0 ? { cache_write_tokens_details: { ttl_12h_tokens: long, ttl_30m_tokens: short } } : {}),
    },
    output_tokens: output,
    output_tokens_details: { reasoning_tokens: reasoning },
    total_tokens: input + output,
  }
}

const ok = (body: Json, headers: BillCase['answer']['headers'] = {}): BillCase['answer'] => ({
  status: 200,
  headers: { 'content-type': 'application/json', ...headers },
  body,
})
const modelOf = (sheet: string) => sheet.split('/')[1] ?? ''

/* What is asked, and what is answered */

const EVERY_CHAT = [
  'openai/gpt-6.2-sol',
  'openai/gpt-6-sol',
  'openai/gpt-6.1-sol',
  'openai/gpt-5.4',
  'openai/gpt-5',
  'openai/gpt-5-mini',
  'openai/gpt-4.1',
  'openai/gpt-4.1-nano',
  'openai/gpt-4o',
  'openai/gpt-4o-mini',
  'openai/o3',
  'openai/o4-mini',
]
const WRITES = ['openai/gpt-6.2-sol', 'openai/gpt-6-sol', 'openai/gpt-6.1-sol']
const REASONS = ['openai/gpt-6.2-sol', 'openai/gpt-6-sol', 'openai/gpt-5', 'openai/gpt-5-mini', 'openai/o3']
const PREDICTS = ['openai/gpt-4o', 'openai/gpt-4o-mini', 'openai/gpt-4.1', 'openai/gpt-4.1-nano']
const SPEAKS = ['openai/gpt-4o-audio-preview', 'openai/gpt-4o-mini-audio-preview']

function chat(dice: Random, sheet: string, usage: Json, asked: Json = {}, more: Partial<ChatParts> = {}): Draft {
  const body = chatBody(dice, { model: modelOf(sheet), usage, tier: 'default', ...more })
  return { sheet, api: 'chat', asked: { max_completion_tokens: 4_096, ...asked }, answer: ok(body) }
}

/** [asked, answered]: what is asked is not always what serves. */
function tierOf(dice: Random, sheet: string): readonly [string | undefined, string | null | undefined] {
  const tiers = Object.keys(sheetOf(sheet).tiers).filter((tier) => tier !== 'default')
  const tier = dice.pick(tiers)
  const asked = tier === 'priority' && dice.chance(0.4) ? 'fast' : tier
  if (dice.chance(0.35)) return [asked, 'default']
  if (dice.chance(0.15)) return [dice.chance(0.3) ? undefined : dice.pick(['auto', 'default']), tier]
  // Not told: as it was asked for.
  if (dice.chance(0.2)) return [dice.chance(0.5) ? undefined : tier, dice.chance(0.5) ? undefined : null]
  return [asked, tier]
}

const tierAsked = (tier: string | undefined): Json => (tier === undefined ? {} : { service_tier: tier })

/** Details of a prompt that was cached, and written, in parts. */
function cachedParts(dice: Random, prompt: number): { readonly cached: number; readonly written: number } {
  const cached = part(dice, prompt)
  return { cached, written: part(dice, prompt - cached) }
}

/** Around the threshold, and well above it. */
function longPrompt(dice: Random, sheet: string): number {
  const above = sheetOf(sheet).above ?? 0
  return dice.pick([above - 1, above, above + 1, above + 2, dice.whole(above, 900_000), dice.whole(above - 999, above)])
}

const CHAT: readonly Group[] = [
  {
    file: 'chat',
    about: 'input and output',
    count: 40,
    draft: (dice, index) => {
      const sheet = EVERY_CHAT[index % EVERY_CHAT.length] ?? ''
      return chat(dice, sheet, chatUsage(tokens(dice), tokens(dice, 0)))
    },
  },
  {
    file: 'chat',
    about: 'cached input',
    count: 40,
    draft: (dice, index) => {
      const prompt = tokens(dice)
      const usage = chatUsage(prompt, tokens(dice, 0), { cached_tokens: part(dice, prompt) })
      return chat(dice, EVERY_CHAT[index % EVERY_CHAT.length] ?? '', usage)
    },
  },
  {
    file: 'chat',
    about: 'cache writes',
    count: 40,
    draft: (dice, index) => {
      const prompt = tokens(dice)
      const { cached, written } = cachedParts(dice, prompt)
      const usage = chatUsage(prompt, tokens(dice, 0), { cached_tokens: cached, cache_write_tokens: written })
      return chat(dice, WRITES[index % WRITES.length] ?? '', usage)
    },
  },
  {
    file: 'chat',
    about: 'cache writes that are kept for twelve hours',
    count: 30,
    draft: (dice) => {
      const prompt = tokens(dice)
      const { cached, written } = cachedParts(dice, prompt)
      const usage = chatUsage(prompt, tokens(dice, 0), { cached_tokens: cached, cache_write_tokens: written })
      const ttl = dice.chance(0.7) ? '12h' : '30m'
      const text = { type: 'text', text: 'Why?', prompt_cache_breakpoint: { mode: 'explicit', ttl } }
      const asked = dice.chance(0.7)
        ? { messages: [{ role: 'user', content: [text] }], prompt_cache_options: { ttl: '30m' } }
        : { prompt_cache_options: { ttl } }
      return chat(dice, 'openai/gpt-6.2-sol', usage, asked)
    },
  },
  {
    file: 'chat',
    about: 'reasoning, which is part of the output',
    count: 30,
    draft: (dice, index) => {
      const output = tokens(dice)
      const usage = chatUsage(tokens(dice), output, {}, { reasoning_tokens: part(dice, output) })
      return chat(dice, REASONS[index % REASONS.length] ?? '', usage, { reasoning_effort: 'high' })
    },
  },
  {
    file: 'chat',
    about: 'predicted output, accepted and rejected',
    count: 20,
    draft: (dice, index) => {
      const output = tokens(dice)
      const accepted = part(dice, output)
      const details = {
        accepted_prediction_tokens: accepted,
        rejected_prediction_tokens: part(dice, output - accepted),
      }
      const asked = { prediction: { type: 'content', content: 'Because.' } }
      return chat(dice, PREDICTS[index % PREDICTS.length] ?? '', chatUsage(tokens(dice), output, {}, details), asked)
    },
  },
  {
    file: 'chat',
    about: 'audio in and out',
    count: 30,
    draft: (dice, index) => {
      const [prompt, output] = [tokens(dice), tokens(dice, 0, 16_384)]
      const [heard, said] = [part(dice, prompt), part(dice, output)]
      const usage = chatUsage(
        prompt,
        output,
        { audio_tokens: heard, text_tokens: prompt - heard },
        { audio_tokens: said, text_tokens: output - said },
      )
      return chat(dice, SPEAKS[index % SPEAKS.length] ?? '', usage, { modalities: ['text', 'audio'] })
    },
  },
  {
    file: 'chat',
    about: 'several choices, of which the output is the sum',
    count: 30,
    draft: (dice, index) => {
      const n = dice.whole(2, 8)
      const prompt = tokens(dice)
      const usage = chatUsage(prompt, n * tokens(dice, 1, 9_999), { cached_tokens: part(dice, prompt) })
      return chat(dice, EVERY_CHAT[index % EVERY_CHAT.length] ?? '', usage, { n }, { n })
    },
  },
  {
    file: 'chat',
    about: 'a service tier, by what the answer says',
    count: 60,
    draft: (dice, index) => {
      const sheets = EVERY_CHAT.filter((name) => Object.keys(sheetOf(name).tiers).length > 1)
      const sheet = sheets[index % sheets.length] ?? ''
      const prompt = tokens(dice)
      const [asked, told] = tierOf(dice, sheet)
      const cached = part(dice, prompt)
      const written = WRITES.includes(sheet) ? { cache_write_tokens: part(dice, prompt - cached) } : {}
      const usage = chatUsage(prompt, tokens(dice, 0), { cached_tokens: cached, ...written })
      return chat(dice, sheet, usage, tierAsked(asked), { tier: told === undefined ? undefined : told })
    },
  },
  {
    file: 'chat',
    about: 'a service tier that the price does not name: the dearest',
    count: 10,
    draft: (dice, index) => {
      const sheet = ['openai/gpt-6-sol', 'openai/gpt-5-mini', 'openai/gpt-4o', 'openai/gpt-4o-mini'][index % 4] ?? ''
      const prompt = tokens(dice)
      const usage = chatUsage(prompt, tokens(dice, 0), { cached_tokens: part(dice, prompt) })
      return chat(dice, sheet, usage, tierAsked('auto'), { tier: 'scale' })
    },
  },
  {
    file: 'chat',
    about: 'context at and above the threshold',
    count: 40,
    draft: (dice, index) => {
      const sheet = ['openai/gpt-6.2-sol', 'openai/gpt-6-sol', 'openai/gpt-6.1-sol', 'openai/gpt-5.4'][index % 4] ?? ''
      const prompt = longPrompt(dice, sheet)
      const cached = part(dice, prompt)
      const written = WRITES.includes(sheet) ? { cache_write_tokens: part(dice, prompt - cached) } : {}
      const [asked, told] = sheet === 'openai/gpt-5.4' ? [undefined, 'default'] : tierOf(dice, sheet)
      const usage = chatUsage(prompt, tokens(dice, 0, 128_000), { cached_tokens: cached, ...written })
      return chat(dice, sheet, usage, tierAsked(asked), { tier: told })
    },
  },
  {
    file: 'chat',
    about: 'tokens of a kind that nobody priced: the highest rate',
    count: 20,
    draft: (dice, index) => {
      const sheet =
        ['openai/gpt-5', 'openai/gpt-6-sol', 'openai/gpt-4o-audio-preview', 'openai/gpt-4.1'][index % 4] ?? ''
      const [prompt, output] = [tokens(dice), tokens(dice)]
      const [of, to] = dice.pick([
        [{ video_tokens: part(dice, prompt) }, {}],
        [{}, { video_tokens: part(dice, output) }],
        [{ video_tokens: part(dice, prompt) }, { scent_tokens: part(dice, output) }],
      ])
      return chat(dice, sheet, chatUsage(prompt, output, of, to))
    },
  },
  {
    file: 'chat',
    about: 'thoughts that only the total counts',
    count: 10,
    draft: (dice, index) => {
      const usage = chatUsage(tokens(dice), tokens(dice, 0))
      const total_tokens = Number(usage.total_tokens) + tokens(dice)
      return chat(dice, REASONS[index % REASONS.length] ?? '', { ...usage, total_tokens })
    },
  },
  {
    file: 'chat',
    about: 'processed in a region',
    count: 20,
    draft: (dice) => {
      const prompt = tokens(dice)
      const { cached, written } = cachedParts(dice, prompt)
      const usage = chatUsage(prompt, tokens(dice, 0), { cached_tokens: cached, cache_write_tokens: written })
      const draft = chat(dice, 'openai/gpt-6-sol', usage)
      return { ...draft, target: { kind: 'openai', zone: 'us' } }
    },
  },
]

function response(
  dice: Random,
  sheet: string,
  usage: Json,
  asked: Json = {},
  more: Partial<ResponseParts> = {},
): Draft {
  const body = responseBody(dice, { model: modelOf(sheet), usage, tier: 'default', ...more })
  return { sheet, api: 'responses', asked: { store: false, max_output_tokens: 4_096, ...asked }, answer: ok(body) }
}

const EVERY_RESPONSE = EVERY_CHAT.filter((name) => name !== 'openai/gpt-4o')
const SEARCHES = EVERY_RESPONSE.filter((name) => sheetOf(name).tools !== undefined)

const search = (dice: Random, action: string): Json => ({
  id: `ws_${hex(dice, 32)}`,
  type: 'web_search_call',
  status: 'completed',
  action: { type: action },
})
const fileSearch = (dice: Random): Json => ({
  id: `fs_${hex(dice, 32)}`,
  type: 'file_search_call',
  status: 'completed',
  queries: ['why'],
  results: null,
})

const RESPONSES: readonly Group[] = [
  {
    file: 'responses',
    about: 'input, cached input, reasoning and output',
    count: 50,
    draft: (dice, index) => {
      const [input, output] = [tokens(dice), tokens(dice)]
      const usage = responseUsage(input, output, { cached: part(dice, input), reasoning: part(dice, output) })
      return response(dice, EVERY_RESPONSE[index % EVERY_RESPONSE.length] ?? '', usage)
    },
  },
  {
    file: 'responses',
    about: 'cache writes, for 30 minutes and for twelve hours',
    count: 50,
    draft: (dice, index) => {
      const input = tokens(dice)
      const { cached, written } = cachedParts(dice, input)
      const sheet = index % 3 === 0 ? 'openai/gpt-6-sol' : 'openai/gpt-6.2-sol'
      const long = index % 3 === 0 ? 0 : part(dice, written)
      const usage = responseUsage(input, tokens(dice), { cached, short: written - long, long })
      return response(dice, sheet, usage, { prompt_cache_options: { ttl: long > 0 ? '12h' : '30m' } })
    },
  },
  {
    file: 'responses',
    about: 'a service tier, by what the answer says',
    count: 40,
    draft: (dice, index) => {
      const sheets = EVERY_RESPONSE.filter((name) => Object.keys(sheetOf(name).tiers).length > 1)
      const sheet = sheets[index % sheets.length] ?? ''
      const [asked, told] = tierOf(dice, sheet)
      const [input, output] = [tokens(dice), tokens(dice)]
      const usage = responseUsage(input, output, { cached: part(dice, input), reasoning: part(dice, output) })
      return response(dice, sheet, usage, tierAsked(asked), { tier: told ?? undefined })
    },
  },
  {
    file: 'responses',
    about: 'hosted tools, by the calls that are billed',
    count: 50,
    draft: (dice, index) => {
      const sheet = SEARCHES[index % SEARCHES.length] ?? ''
      const [searches, opened, files] = [dice.whole(0, 6), dice.whole(0, 3), dice.whole(0, 3)]
      const output = [
        ...Array.from({ length: searches }, () => search(dice, 'search')),
        ...Array.from({ length: opened }, () => search(dice, 'open_page')),
        ...Array.from({ length: files }, () => fileSearch(dice)),
      ]
      const image = {
        input_tokens: 0,
        input_tokens_details: { image_tokens: 0, text_tokens: 0 },
        output_tokens: 0,
        total_tokens: 0,
      }
      const input = tokens(dice, 1_000)
      return response(
        dice,
        sheet,
        responseUsage(input, tokens(dice), { cached: part(dice, input) }),
        { tools: [{ type: 'web_search' }, { type: 'file_search', vector_store_ids: ['vs_1'] }], max_tool_calls: 12 },
        { output, more: { tool_usage: { image_gen: image, web_search: { num_requests: searches } } } },
      )
    },
  },
  {
    file: 'responses',
    about: 'hosted tools, of which only the items tell',
    count: 20,
    draft: (dice, index) => {
      const sheet = SEARCHES[index % SEARCHES.length] ?? ''
      const output = Array.from({ length: dice.whole(1, 5) }, () =>
        dice.chance(0.7) ? search(dice, dice.chance(0.7) ? 'search' : 'open_page') : fileSearch(dice),
      )
      const tools = [{ type: 'web_search' }, { type: 'file_search', vector_store_ids: ['vs_1'] }]
      const asked = { tools, max_tool_calls: 8 }
      return response(dice, sheet, responseUsage(tokens(dice, 1_000), tokens(dice)), asked, { output })
    },
  },
  {
    file: 'responses',
    about: 'context at and above the threshold, with all the rest',
    count: 30,
    draft: (dice) => {
      const sheet = dice.pick(['openai/gpt-6.2-sol', 'openai/gpt-6-sol'])
      const input = longPrompt(dice, sheet)
      const { cached, written } = cachedParts(dice, input)
      const long = sheet === 'openai/gpt-6.2-sol' ? part(dice, written) : 0
      const [asked, told] = tierOf(dice, sheet)
      const usage = responseUsage(input, tokens(dice), { cached, short: written - long, long })
      const draft = response(dice, sheet, usage, tierAsked(asked), {
        tier: told ?? undefined,
        output: Array.from({ length: dice.whole(0, 3) }, () => search(dice, 'search')),
      })
      return sheet === 'openai/gpt-6-sol' ? { ...draft, target: { kind: 'openai', zone: 'us' } } : draft
    },
  },
]

function embeddings(dice: Random, sheet: string): Draft {
  const prompt = tokens(dice)
  const body = {
    object: 'list',
    data: [{ object: 'embedding', index: 0, embedding: 'AACAPwAAAAA=' }],
    model: modelOf(sheet),
    usage: { prompt_tokens: prompt, total_tokens: prompt },
  }
  return { sheet, api: 'embeddings', asked: { encoding_format: 'base64' }, answer: ok(body) }
}

const EMBEDDINGS: readonly Group[] = [
  {
    file: 'embeddings',
    about: 'embeddings, which have input alone',
    count: 50,
    draft: (dice, index) => embeddings(dice, `openai/text-embedding-3-${index % 2 === 0 ? 'small' : 'large'}`),
  },
]

const DEEPSEEK = ['deepseek-v4-flash', 'deepseek-v4-pro', 'deepseek-chat', 'deepseek-reasoner']

const DEEPSEEKS: readonly Group[] = [
  {
    file: 'deepseek',
    about: 'DeepSeek, which tells hits and misses of its cache beside the sum',
    count: 50,
    draft: (dice, index) => {
      const sheet = `deepseek/${DEEPSEEK[index % DEEPSEEK.length]}`
      const [prompt, completion] = [tokens(dice, 1, 64_000), tokens(dice, 0, 32_000)]
      const hit = part(dice, prompt)
      const usage = {
        prompt_tokens: prompt,
        completion_tokens: completion,
        total_tokens: prompt + completion,
        ...(dice.chance(0.5) ? { prompt_tokens_details: { cached_tokens: hit } } : {}),
        ...(dice.chance(0.5) ? { completion_tokens_details: { reasoning_tokens: part(dice, completion) } } : {}),
        prompt_cache_hit_tokens: hit,
        prompt_cache_miss_tokens: prompt - hit,
      }
      return {
        sheet,
        api: 'chat',
        asked: { max_tokens: 8_192 },
        answer: ok(chatBody(dice, { model: modelOf(sheet), usage })),
      }
    },
  },
]

const FILTERED = { hate: { filtered: false, severity: 'safe' }, violence: { filtered: false, severity: 'safe' } }
const AZURE = ['azure/gpt-5', 'azure/gpt-5-mini', 'azure/gpt-4.1', 'azure/gpt-4o']
/** As it is sent, and as its page spells it. */
const SPILLED = [{ 'x-ms-spillover-from-deployment': 'gpt-ptu' }, { 'x-ms-spillover-from-gpt-ptu': 'true' }]

function azureChat(dice: Random, sheet: string, { asked = {}, tier }: { asked?: Json; tier?: string } = {}): Draft {
  const [prompt, output] = [tokens(dice, 1, 120_000), tokens(dice, 0, 16_000)]
  const usage = chatUsage(
    prompt,
    output,
    { cached_tokens: part(dice, prompt) },
    { reasoning_tokens: part(dice, output) },
  )
  const more = { prompt_filter_results: [{ prompt_index: 0, content_filter_results: FILTERED }] }
  const body = chatBody(dice, { model: `${modelOf(sheet)}-2026-01-01`, usage, more, ...(tier ? { tier } : {}) })
  return {
    sheet,
    api: 'chat',
    asked: { max_completion_tokens: 16_384, ...asked },
    answer: ok(body, { 'apim-request-id': hex(dice, 32), 'x-ms-region': 'Sweden Central' }),
    target: { kind: 'azure' },
  }
}

const AZURES: readonly Group[] = [
  {
    file: 'azure',
    about: 'Azure OpenAI, in a data zone or anywhere',
    count: 40,
    draft: (dice, index) => {
      const draft = azureChat(dice, AZURE[index % AZURE.length] ?? '')
      return { ...draft, target: dice.chance(0.5) ? { kind: 'azure', zone: 'eu' } : { kind: 'azure' } }
    },
  },
  {
    file: 'azure',
    about: 'Azure OpenAI, priority processing by what the answer says',
    count: 20,
    draft: (dice, index) => {
      const tier = dice.chance(0.6) ? 'priority' : 'default'
      const draft = azureChat(dice, index % 2 === 0 ? 'azure/gpt-5' : 'azure/gpt-4.1', {
        asked: tierAsked('priority'),
        tier,
      })
      return { ...draft, target: dice.chance(0.5) ? { kind: 'azure', zone: 'us' } : { kind: 'azure' } }
    },
  },
  {
    file: 'azure',
    about: 'a provisioned deployment, whose tokens cost nothing more',
    count: 20,
    draft: (dice, index) => ({
      ...azureChat(dice, AZURE[index % AZURE.length] ?? ''),
      target: { kind: 'azure', ptu: true, ...(dice.chance(0.5) ? { zone: 'eu' } : {}) },
    }),
  },
  {
    file: 'azure',
    about: 'what a provisioned deployment has spilled over',
    count: 40,
    draft: (dice, index) => {
      const draft = azureChat(dice, AZURE[index % AZURE.length] ?? '')
      const spilled = { ...dice.pick(SPILLED), 'x-ms-deployment-name': 'gpt-standard' }
      const target = { kind: 'azure', ptu: true, ...(dice.chance(0.5) ? { zone: 'eu' } : {}) } as const
      return { ...draft, target, answer: { ...draft.answer, headers: { ...draft.answer.headers, ...spilled } } }
    },
  },
  {
    file: 'azure',
    about: 'a prompt that the content filter refused: its input',
    count: 30,
    draft: (dice, index) => {
      const body = {
        error: {
          message: "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
          type: null,
          param: 'prompt',
          code: 'content_filter',
          status: 400,
          innererror: {
            code: 'ResponsibleAIPolicyViolation',
            content_filter_result: { ...FILTERED, violence: { filtered: true, severity: 'high' } },
          },
        },
      }
      return {
        sheet: AZURE[index % AZURE.length] ?? '',
        api: 'chat',
        asked: { max_completion_tokens: 4_096, service_tier: 'default' },
        reserved: { input: tokens(dice, 1, 9_999), output: 4_096 },
        answer: { status: 400, headers: { 'content-type': 'application/json' }, body },
        target: dice.chance(0.5) ? { kind: 'azure', zone: 'eu' } : { kind: 'azure' },
      }
    },
  },
  {
    file: 'embeddings',
    about: 'embeddings of Azure OpenAI',
    count: 20,
    draft: (dice) => ({
      ...embeddings(dice, 'azure/text-embedding-3-small'),
      target: dice.chance(0.5) ? { kind: 'azure', zone: 'eu' } : { kind: 'azure' },
    }),
  },
]

const errorOf = (code: string | null, type: string, message: string): Json => ({
  error: { message, type, param: null, code },
})
const UNSPENT: readonly (readonly [number, Json, BillCase['answer']['headers']])[] = [
  [400, errorOf('context_length_exceeded', 'invalid_request_error', 'Too long'), {}],
  [401, errorOf('invalid_api_key', 'invalid_request_error', 'No such key'), {}],
  [403, errorOf('model_not_found', 'invalid_request_error', 'No access'), {}],
  [404, errorOf('DeploymentNotFound', 'invalid_request_error', 'No such deployment'), {}],
  [429, errorOf('rate_limit_exceeded', 'requests', 'Please retry after 22 seconds'), { 'retry-after': '22' }],
  [503, errorOf(null, 'server_error', 'Overloaded'), { 'retry-after': '1' }],
  [501, errorOf(null, 'server_error', 'Not implemented'), {}],
]
const UNKNOWN = [500, 502, 503, 504, 408] as const
const SILENT = ['openai/gpt-5.4', 'openai/gpt-5', 'openai/gpt-4o-mini', 'openai/gpt-6-sol', 'deepseek/deepseek-v4-pro']

/** A tier, if it has any; or none, so that any of them may serve. */
function tierOrNone(dice: Random, sheet: string): Json {
  const tiers = Object.keys(sheetOf(sheet).tiers)
  return dice.chance(0.6) ? { service_tier: dice.pick(tiers) } : {}
}

const UNTOLD: readonly Group[] = [
  {
    file: 'untold',
    about: 'an answer without usage: all that was reserved',
    count: 30,
    draft: (dice, index) => {
      const sheet = SILENT[index % SILENT.length] ?? ''
      const n = dice.whole(1, 4)
      const body = chatBody(dice, { model: modelOf(sheet), usage: dice.chance(0.5) ? undefined : null, n })
      const reserved = { input: tokens(dice, 1, 9_999), output: n * dice.whole(16, 4_096) }
      return {
        sheet,
        api: 'chat',
        asked: { n, max_completion_tokens: reserved.output / n },
        reserved,
        answer: ok(body),
      }
    },
  },
  {
    file: 'untold',
    about: 'a server that failed and may have answered: all that was reserved',
    count: 20,
    draft: (dice, index) => {
      const body = errorOf(null, 'server_error', 'The server had an error')
      const sheet = SILENT[index % SILENT.length] ?? ''
      const reserved = { input: tokens(dice, 1, 9_999), output: dice.whole(16, 4_096) }
      return {
        sheet,
        api: 'chat',
        asked: { max_completion_tokens: reserved.output, ...tierOrNone(dice, sheet) },
        reserved,
        answer: { status: dice.pick(UNKNOWN), headers: { 'content-type': 'application/json' }, body },
      }
    },
  },
  {
    file: 'untold',
    about: 'a server that has not processed it: nothing',
    count: 20,
    draft: (dice, index) => {
      const [status, body, headers] = dice.pick(UNSPENT)
      const reserved = { input: tokens(dice, 1, 9_999), output: dice.whole(16, 4_096) }
      return {
        sheet: SILENT[index % SILENT.length] ?? '',
        api: 'chat',
        asked: { max_completion_tokens: reserved.output },
        reserved,
        answer: { status, headers: { 'content-type': 'application/json', ...headers }, body },
      }
    },
  },
]

const GROUPS = [...CHAT, ...RESPONSES, ...EMBEDDINGS, ...DEEPSEEKS, ...AZURES, ...UNTOLD]
export const FILES = [...new Set(GROUPS.map(({ file }) => file))]

/** All cases, by the file that they stand in. */
export function generated(): ReadonlyMap<string, readonly BillCase[]> {
  const dice = random(SEED)
  const files = new Map<string, BillCase[]>()
  for (const { file, about, count, draft } of GROUPS) {
    const cases = files.get(file) ?? []
    files.set(file, cases)
    for (let index = 0; index < count; index += 1) {
      const { sheet, target = { kind: 'openai' }, ...call } = draft(dice, index)
      const price = policyPrice(sheetOf(sheet))
      const nanoUsd = Number(billOf(sheetOf(sheet), { target, ...call }))
      if (!Number.isSafeInteger(nanoUsd)) throw new RangeError(`${nanoUsd} nano-dollars are no exact number`)
      const id = `${file}-${String(cases.length + 1).padStart(3, '0')}`
      cases.push({ id, about, sheet, price, target, ...call, nanoUsd })
    }
  }
  return files
}

/** A file's text: a case a line. */
export function textOf(cases: readonly BillCase[]): string {
  return `[\n${cases.map((each) => JSON.stringify(each)).join(',\n')}\n]\n`
}

export const pathOf = (file: string) => join(import.meta.dirname, `${file}.json`)

if (import.meta.main) {
  const isChecked = process.argv.includes('--check')
  for (const [file, cases] of generated()) {
    if (!isChecked) writeFileSync(pathOf(file), textOf(cases))
    else if (readFileSync(pathOf(file), 'utf8') !== textOf(cases)) {
      console.error(`test/bill/${file}.json is not what the generator gives. Run node test/bill/generate.ts.`)
      process.exitCode = 1
    }
  }
}
