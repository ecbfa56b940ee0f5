import { randomUUID } from 'node:crypto'
import * as z from 'zod'
import { endpoint, fromEnv } from './from-env.ts'
import { headerSecret, headersOf, secretHeaders } from './secret-headers.ts'
import { SIGNED_BY, type SigV4Settings, signer, sigv4, sigv4Of } from './sigv4.ts'
import {
  type Json,
  type TargetContext,
  TargetFault,
  type TargetKind,
  type TargetSettings,
  type Translation,
  type Untranslatable,
} from './target-kind.ts'

export interface GenerateSettings extends TargetSettings {
  readonly kind: 'generate'
  readonly url: string
  /** Whether `model` goes along: the policy named one. */
  readonly sendsModel: boolean
  /** Whether the service answers `stream: true` with events. */
  readonly streams: boolean
  /** Names in lower case and values, by turns; the key among them. */
  readonly headers: readonly string[]
  readonly sign: SigV4Settings | undefined
}

const document = z.strictObject({
  url: endpoint.describe('Where it is asked, whole: https://<app>.azurewebsites.net/api/generate'),
  model: z.string().min(1).max(128).optional().describe('Sent as model, to a service with several.'),
  key: fromEnv.optional().describe('Sent as x-api-key.'),
  headers: secretHeaders,
  sign: sigv4.optional(),
  streams: z
    .boolean()
    .optional()
    .describe('Whether it answers stream: true with events. Absent: it is asked for a plain answer.'),
})

type GenerateDocument = z.infer<typeof document>

/** The name of a model that the policy doesn't name. */
const UNNAMED = 'generate'
const KEY_HEADER = 'x-api-key'

/**
 * A service that speaks the contract of `POST /api/generate`: `{prompt, system?, temperature?, max_tokens?, stream?}` in,
 * `{"data": {"completion", "model", "usage"}, "status": "success"}` out. Chat completions of one prompt are translated.
 */
export const generate: TargetKind<GenerateDocument, GenerateSettings> = {
  name: 'generate',
  description: 'A service that takes a prompt and answers with a completion, as POST /api/generate does.',
  document,
  example: '{url: https://my-app.azurewebsites.net/api/generate}',
  servedAs: ({ model = UNNAMED }) => model,

  resolve({ url, model, key, headers, sign, streams = false }, context) {
    const keyed = key === undefined ? [] : [KEY_HEADER, headerSecret(key, 'key', context)]
    const own = [...(key === undefined ? [] : [KEY_HEADER]), ...(sign === undefined ? [] : SIGNED_BY)]
    return {
      kind: 'generate',
      url: urlOf(context.setting(url, 'url'), context),
      model: model ?? UNNAMED,
      sendsModel: model !== undefined,
      streams,
      headers: [...keyed, ...headersOf(headers, own, context)],
      sign: sign && sigv4Of(sign, context),
    }
  },

  place: ({ url, sendsModel }) => ({ url, api: sendsModel ? 'named' : '' }),

  async template({ url, headers, sign }, { method }) {
    const at = new URL(url)
    const all = ['accept', 'application/json, text/event-stream', 'content-type', 'application/json', ...headers]
    if (sign === undefined) return { url: at, headers: all }
    return {
      url: at,
      headers: all,
      authorize: await signer(sign, at, method, ['content-type', 'application/json', ...headers]),
    }
  },

  translation: (settings, { path }, body) =>
    path === '/chat/completions' ? translationOf(settings, body) : { cannot: 'serves chat completions alone' },
}

function urlOf(text: string, context: TargetContext): string {
  const url = context.url(text)
  if (url.search !== '') {
    throw new TargetFault(
      'the url holds a query, which would not be sent. Send a key by headers: {x-functions-key: {env: NAME}}.',
    )
  }
  return url.origin + url.pathname
}

/** Fields that say who asks, or how the answer is to be kept and sent: no answer changes by them. */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  'metadata',
  'model',
  'prompt_cache_key',
  'prompt_cache_retention',
  'safety_identifier',
  'store',
  'stream',
  'stream_options',
  'timeout',
  'user',
])
/** Fields that the contract has a word for. */
const CARRIED: ReadonlySet<string> = new Set(['messages', 'temperature', 'max_tokens', 'max_completion_tokens'])

const isEmptyList = (value: unknown) => Array.isArray(value) && value.length === 0
/** Values of other fields by which they ask for nothing. */
const ASKS_NOTHING: ReadonlyMap<string, (value: unknown) => boolean> = new Map([
  ['frequency_penalty', (value) => value === 0],
  ['function_call', (value) => value === 'none' || value === 'auto'],
  ['functions', isEmptyList],
  ['logit_bias', (value) => Object.keys(Object(value)).length === 0],
  ['logprobs', (value) => value === false],
  ['modalities', (value) => Array.isArray(value) && value.every((each) => each === 'text')],
  ['n', (value) => value === 1],
  ['parallel_tool_calls', (value) => typeof value === 'boolean'],
  ['presence_penalty', (value) => value === 0],
  ['response_format', (value) => Object(value).type === 'text'],
  ['service_tier', (value) => value === 'auto' || value === 'default'],
  ['stop', isEmptyList],
  ['tool_choice', (value) => value === 'none' || value === 'auto'],
  ['tools', isEmptyList],
  ['top_logprobs', (value) => value === 0],
  ['top_p', (value) => value === 1],
])

function translationOf(settings: GenerateSettings, chat: Json): Translation | Untranslatable {
  for (const [field, value] of Object.entries(chat)) {
    if (value === undefined || value === null || WITHOUT_EFFECT.has(field) || CARRIED.has(field)) continue
    if (!ASKS_NOTHING.get(field)?.(value)) return untold(field)
  }
  const said = promptOf(chat.messages)
  if ('cannot' in said) return said
  const { temperature, max_tokens, max_completion_tokens, stream } = chat
  const bound = max_completion_tokens ?? max_tokens ?? undefined
  return {
    body: {
      ...said,
      ...(settings.sendsModel ? { model: settings.model } : {}),
      ...(temperature === undefined || temperature === null ? {} : { temperature }),
      ...(bound === undefined ? {} : { max_tokens: bound }),
      ...(stream === true && settings.streams ? { stream } : {}),
    },
    ...reading(settings.model, bound),
  }
}

function untold(field: string): Untranslatable {
  return { cannot: `is asked by a prompt alone, which can't tell it '${field}'`, field }
}

/**
 * The prompt and the system's text of a conversation that has just begun: what stands before the user's message, which is the
 * last. Several turns would have to be told as one text, in which a user could write an assistant's part.
 */
function promptOf(messages: unknown): { readonly prompt: string; readonly system?: string } | Untranslatable {
  if (!Array.isArray(messages)) return untold('messages')
  const system: string[] = []
  for (const [at, message] of messages.entries()) {
    const { role, content, ...others } = Object(message) as Json
    const field = `messages[${at}]`
    const other = Object.keys(others).find((name) => isTold(others[name]))
    if (other !== undefined) return untold(`${field}.${other}`)
    const text = textOf(content)
    if (text === undefined) return untold(`${field}.content`)
    const isLast = at === messages.length - 1
    if (isLast && role === 'user') {
      if (text === '') return untold(`${field}.content`)
      return { prompt: text, ...(system.length === 0 ? {} : { system: system.join('\n\n') }) }
    }
    if (role !== 'system' && role !== 'developer') return untold(field)
    system.push(text)
  }
  return untold('messages')
}

function isTold(value: unknown): boolean {
  return value !== undefined && value !== null && !isEmptyList(value)
}

/** A text, or parts that are texts, a line each. */
function textOf(content: unknown): string | undefined {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return undefined
  const texts: string[] = []
  for (const part of content) {
    const { type, text, ...others } = Object(part) as Json
    if (type !== 'text' || typeof text !== 'string' || Object.values(others).some(isTold)) return undefined
    texts.push(text)
  }
  return texts.join('\n')
}

/** What the service tells of an answer, in a plain one and in the last event of a stream. */
interface Told {
  readonly completion?: unknown
  readonly refusal?: unknown
  readonly model?: unknown
  readonly usage?: Json | null
}

/** @param bound of the answer, as it was asked for */
function reading(model: string, bound: unknown): Omit<Translation, 'body'> {
  const head = { id: `chatcmpl-${randomUUID()}`, created: Math.floor(Date.now() / 1_000) }
  let hasBegun = false

  const endOf = ({ usage }: Told) => {
    const count = usage?.completion_tokens
    return typeof bound === 'number' && typeof count === 'number' && count >= bound ? 'length' : 'stop'
  }
  const named = (told: Told) => (typeof told.model === 'string' && told.model !== '' ? told.model : model)
  const chunk = (more: Json) => ({ ...head, object: 'chat.completion.chunk', model, ...more })
  const piece = (delta: Json, finish_reason: string | null) => [{ index: 0, delta, finish_reason }]

  function chunkOf({ completion, refusal }: Told): Json {
    const role = hasBegun ? {} : { role: 'assistant' }
    hasBegun = true
    return chunk({ choices: piece({ ...role, [refusal === true ? 'refusal' : 'content']: completion }, null) })
  }

  return {
    answer(came) {
      const told = toldIn(came)
      if (told === undefined || came.status !== 'success') return errorIn(came)
      const { completion, refusal } = told
      const message = { role: 'assistant', content: completion, refusal: null }
      return {
        ...head,
        object: 'chat.completion',
        model: named(told),
        choices: [
          {
            index: 0,
            message: refusal === true ? { ...message, content: null, refusal: completion } : message,
            logprobs: null,
            finish_reason: endOf(told),
          },
        ],
        ...usageIn(told),
      }
    },
    events(came) {
      const told = toldIn(came)
      if (told === undefined) {
        const error = errorIn(came)
        return error === undefined ? [] : [error]
      }
      const pieces = told.completion === '' || told.completion === null ? [] : [chunkOf(told)]
      if (came.status !== 'success') return pieces
      const last = { model: named(told) }
      const usage = usageIn(told)
      return [
        ...pieces,
        chunk({ ...last, choices: piece(hasBegun ? {} : { role: 'assistant', content: '' }, endOf(told)) }),
        ...('usage' in usage ? [chunk({ ...last, choices: [], ...usage })] : []),
        '[DONE]',
      ]
    },
    error: (came) => errorIn(came) ?? {},
  }
}

/** `undefined` for what is not of the contract's form. */
function toldIn({ data }: Json): Told | undefined {
  const told = Object(data) as Told
  return typeof told.completion === 'string' || told.completion === null ? told : undefined
}

/** As far as both are counts: what isn't known is not told. */
function usageIn({ usage }: Told): { readonly usage?: Json } {
  const isCount = (value: unknown) => Number.isSafeInteger(value) && Number(value) >= 0
  if (!isCount(usage?.prompt_tokens) || !isCount(usage?.completion_tokens)) return {}
  const total_tokens = usage?.total_tokens ?? Number(usage?.prompt_tokens) + Number(usage?.completion_tokens)
  return { usage: { ...usage, total_tokens } }
}

/** The contract's error, another gateway's code with it; or AWS's, in its two forms. `undefined` where there is none. */
function errorIn({ error, details, code, message, Message, Reason }: Json): Json | undefined {
  if (typeof error === 'object' && error !== null) return { error }
  const texts = [error ?? message ?? Message, details].filter((text) => typeof text === 'string' && text !== '')
  const known = code ?? Reason
  if (texts.length === 0 && known === undefined) return undefined
  return { error: { message: texts.join(' '), ...(typeof known === 'string' ? { code: known } : {}) } }
}
