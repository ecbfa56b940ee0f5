import { type Body, type Call, chat, isJson, type Json } from '../operations/index.ts'
import type { Refusal } from '../pipeline/index.ts'
import { fieldNames } from './field-names.ts'
import { azureRefusal, openaiFailure, openaiRefusal } from './openai-error.ts'
import { deploymentIn, flawed, flawedModel, flawedStream, invalidField, isLeftOut } from './openai-request.ts'
import { withoutPadding } from './padding.ts'
import type { Decoded, EventWriter, Surface } from './surface.ts'

/*
 * POST /chat/completions, as the clients of OpenAI and of Azure OpenAI speak it: the body goes on as it came, and the answer
 * comes back as it came. docs/openai.md is the contract.
 */

/** OpenAI's: the body's `model` is a name of the policy. */
export const chatCompletions: Surface = {
  name: 'chat-completions',
  operation: chat,
  route: 'chat',
  decode: (body, _request, { maxOutputTokens }) => decode(body, body.json.model, maxOutputTokens),
  encode: ({ bytes }) => bytes,
  events,
  refuse: openaiRefusal,
}

/** Azure OpenAI's `/openai/v1`: the same, with Azure's errors. */
export const azureV1ChatCompletions: Surface = {
  ...chatCompletions,
  name: 'azure-v1-chat-completions',
  refuse: azureRefusal,
}

/** Azure OpenAI's `/openai/deployments/{deployment}`: the path's name decides, and the body's `model` means nothing. */
export const azureChatCompletions: Surface = {
  ...azureV1ChatCompletions,
  name: 'azure-chat-completions',
  decode: (body, { url }, { maxOutputTokens }) => decode(body, deploymentIn(url), maxOutputTokens),
}

const OUTPUT_FIELDS = ['max_tokens', 'max_completion_tokens'] as const
const misread = fieldNames({ bounds: OUTPUT_FIELDS, choices: ['n'] })

function decode(body: Body, model: unknown, maxOutputTokens: number): Decoded | Refusal {
  if (body.flaw !== undefined) return flawed(body.flaw)
  const misnamed = misread(body.json)
  if (misnamed !== undefined) return misnamed
  const { messages, stream } = body.json
  const unnamed = flawedModel(model)
  if (unnamed !== undefined) return unnamed
  if (!Array.isArray(messages) || messages.length === 0) return invalidField('messages', 'a list of messages')
  const wrong = messages.findIndex((message) => !isJson(message))
  if (wrong >= 0) return invalidField(`messages[${wrong}]`, 'an object')
  const unstreamed = flawedStream(body.json)
  if (unstreamed !== undefined) return unstreamed
  // What a service might read as a number (`"9"`) must not be less to us.
  for (const field of [...OUTPUT_FIELDS, 'n']) {
    if (!isLeftOut(body.json[field]) && !isPositive(body.json[field])) return invalidField(field, 'a positive integer')
  }
  return {
    model: isLeftOut(model) ? undefined : (model as string),
    prompt: JSON.stringify(messages),
    streamed: stream === true,
    body: body.with(changes(body, maxOutputTokens)),
  }
}

/** Which model serves is decided further in; and an answer may be asked to have no more than the gateway's bound. */
function changes({ json }: Body, maxOutputTokens: number): Record<string, unknown> {
  const changed: Record<string, unknown> = 'model' in json ? { model: undefined } : {}
  for (const field of OUTPUT_FIELDS) if (Number(json[field]) > maxOutputTokens) changed[field] = maxOutputTokens
  return changed
}

function isPositive(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 1
}

const END = 'data: [DONE]\n\n'

/**
 * A stream's events as they came, but for what the client has not asked for, and others have: the chunk of the usage, and
 * padding against eavesdroppers. Its end is written here, so that it stands after a whole answer alone.
 */
function events({ body }: Pick<Call, 'body'>): EventWriter {
  const { include_usage, include_obfuscation } = Object(body.json.stream_options)
  const [wantsUsage, wantsPadding] = [include_usage === true, include_obfuscation === true]
  return {
    // One line feed: older clients (openai-go before 3.43) take a blank line after a comment for an event.
    heartbeat: ': keep-alive\n',
    write(event) {
      if (event.isUnread && saysNothingElse(event.bytes)) return event.bytes
      const { json } = event
      // `[DONE]`
      if (json === undefined) return undefined
      if (!wantsUsage && tellsUsage(json)) return undefined
      return wantsPadding || json.obfuscation === undefined ? event.bytes : withoutPadding(event)
    },
    end: () => END,
    failed: (failure) => `data: ${JSON.stringify(openaiFailure(failure))}\n\n`,
  }
}

/** Whether it is the chunk that `include_usage` asks for. */
function tellsUsage({ choices, usage }: Json): boolean {
  return isJson(usage) && Array.isArray(choices) && choices.length === 0
}

/** Where an event's data begins, after `data: `. */
const DATA_AT = 6
const BRACE = 123
const USAGE = Buffer.from('"usage"')
const NULL = Buffer.from(':null')
const PADDING = Buffer.from('"obfuscation"')

/** Whether an event's bytes alone say that it is a chunk without usage and padding: most of what the cache has is not parsed. */
function saysNothingElse(bytes: Uint8Array): boolean {
  if (bytes[DATA_AT] !== BRACE) return false
  const came = viewOf(bytes)
  const at = came.indexOf(USAGE) + USAGE.length
  const isNull = at < USAGE.length || came.compare(NULL, 0, NULL.length, at, at + NULL.length) === 0
  return isNull && came.indexOf(USAGE, at) < 0 && !came.includes(PADDING)
}

function viewOf(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
