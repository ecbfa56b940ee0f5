import {
  type Body,
  type Call,
  isJson,
  type Json,
  responses,
  type StreamEvent,
  statefulField,
} from '../operations/index.ts'
import type { Refusal } from '../pipeline/index.ts'
import { fieldNames } from './field-names.ts'
import { azureRefusal, openaiFailure, openaiRefusal } from './openai-error.ts'
import { flawed, flawedModel, flawedStream, invalidField, isLeftOut } from './openai-request.ts'
import { withoutPadding } from './padding.ts'
import type { Decoded, EventWriter, Surface } from './surface.ts'

/*
 * POST /responses without state, as the clients of OpenAI and of Azure OpenAI speak it: the body goes on as it came, and the answer
 * comes back as it came. docs/responses.md is the contract.
 */

export const openaiResponses: Surface = {
  name: 'responses',
  operation: responses,
  route: 'responses',
  decode: (body, _request, { maxOutputTokens }) => decode(body, maxOutputTokens),
  encode: ({ bytes }) => bytes,
  events,
  refuse: openaiRefusal,
}

/** Azure OpenAI's, dated and `/openai/v1`: no path of either names a deployment, and so the body's `model` decides on both. */
export const azureResponses: Surface = { ...openaiResponses, name: 'azure-responses', refuse: azureRefusal }

const misread = fieldNames({ bounds: ['max_output_tokens'], choices: [] })

function decode(body: Body, maxOutputTokens: number): Decoded | Refusal {
  if (body.flaw !== undefined) return flawed(body.flaw)
  const misnamed = misread(body.json)
  if (misnamed !== undefined) return misnamed
  const { model, input, stream, tools, max_output_tokens: output } = body.json
  const unnamed = flawedModel(model)
  if (unnamed !== undefined) return unnamed
  const kept = statefulField(body.json)
  if (kept !== undefined) return { kind: 'refusal', code: 'invalid_request', status: 400, ...kept }
  const isList = Array.isArray(input) && input.length > 0
  if (!isList && (typeof input !== 'string' || input === '')) return invalidField('input', 'a text, or a list of items')
  const wrong = isList ? input.findIndex((item) => !isJson(item)) : -1
  if (wrong >= 0) return invalidField(`input[${wrong}]`, 'an object')
  const unstreamed = flawedStream(body.json)
  if (unstreamed !== undefined) return unstreamed
  const images = Array.isArray(tools) ? tools.findIndex((tool) => /^image_generation/.test(Object(tool).type)) : -1
  if (images >= 0) return unmetered(`tools[${images}]`)
  // What a service might read as a number (`"9"`) must not be less to us.
  if (!isLeftOut(output) && !(Number.isSafeInteger(output) && Number(output) >= 1)) {
    return invalidField('max_output_tokens', 'a positive integer')
  }
  return {
    model: isLeftOut(model) ? undefined : (model as string),
    prompt: typeof input === 'string' ? input : JSON.stringify(input),
    streamed: stream === true,
    body: body.with(changes(body.json, maxOutputTokens)),
  }
}

function unmetered(param: string): Refusal {
  const message = `'${param}' makes images, which are not served: what they take can't be metered, and so no limit or budget could hold.`
  return { kind: 'refusal', code: 'invalid_request', status: 400, param, message }
}

/** Which model serves is decided further in; and an answer may be asked to have no more than the gateway's bound. */
function changes(json: Json, maxOutputTokens: number): Json {
  return {
    ...('model' in json ? { model: undefined } : {}),
    ...(Number(json.max_output_tokens) > maxOutputTokens ? { max_output_tokens: maxOutputTokens } : {}),
  }
}

/**
 * A stream's events as they came, but for padding that the client has not asked for. The last of them says that it was whole: none is
 * added, but where it broke off.
 */
function events({ body }: Pick<Call, 'body'>): EventWriter {
  const wantsPadding = Object(body.json.stream_options).include_obfuscation === true
  let last: StreamEvent | undefined
  return {
    // One line feed: older clients (openai-go before 3.43) take a blank line after a comment for an event.
    heartbeat: ': keep-alive\n',
    write(event) {
      last = event
      return wantsPadding ? event.bytes : withoutPadding(event)
    },
    end: () => '',
    failed(failure) {
      const { code, message, param } = openaiFailure(failure).error
      const number = last?.json?.sequence_number
      const sequence_number = Number.isSafeInteger(number) ? Number(number) + 1 : 0
      return `event: error\ndata: ${JSON.stringify({ type: 'error', code, message, param, sequence_number })}\n\n`
    },
  }
}
