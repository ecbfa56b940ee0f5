import { type Completion, textOf } from './chat.ts'

export interface ResponsesRequest {
  readonly input?: unknown
  readonly instructions?: unknown
  readonly max_output_tokens?: number
}

/** The messages that a chat would have in the place of a response's input. */
export function messagesIn({ instructions, input }: ResponsesRequest): { role: string; content: string }[] {
  const items: readonly unknown[] = Array.isArray(input) ? input : [{ role: 'user', content: input }]
  const said = items.map((item) => Object(item) as { readonly role?: string; readonly content?: unknown })
  return [
    ...(typeof instructions === 'string' ? [{ role: 'system', content: instructions }] : []),
    ...said.map(({ role = 'tool', content }) => ({ role, content: textOf(content) })),
  ]
}

/** Fields of a request that a response doesn't repeat. */
const NOT_REPEATED: ReadonlySet<string> = new Set(['input', 'stream', 'stream_options', 'include', 'model'])

/** The body of a plain answer. */
export function wholeResponse(completion: Completion, request: ResponsesRequest): object {
  return responseOf(completion, request, [messageOf(completion)])
}

function responseOf({ id, created, model, finish, usage }: Completion, request: ResponsesRequest, output: object[]) {
  const reason = { length: 'max_output_tokens', content_filter: 'content_filter' }[finish]
  const { prompt_tokens: input_tokens, completion_tokens: output_tokens } = Object(usage)
  return {
    id: id.replace('chatcmpl', 'resp'),
    object: 'response',
    created_at: created,
    status: reason === undefined ? 'completed' : 'incomplete',
    error: null,
    incomplete_details: reason === undefined ? null : { reason },
    instructions: null,
    metadata: {},
    parallel_tool_calls: true,
    temperature: 1,
    text: { format: { type: 'text' } },
    tool_choice: 'auto',
    tools: [],
    top_p: 1,
    ...Object.fromEntries(Object.entries(request).filter(([field]) => !NOT_REPEATED.has(field))),
    model,
    output,
    usage: usage && {
      input_tokens,
      input_tokens_details: { cached_tokens: 0 },
      output_tokens,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: input_tokens + output_tokens,
    },
  }
}

function messageOf({ id, pieces }: Completion) {
  const content = [{ type: 'output_text', text: pieces.join(''), annotations: [], logprobs: [] }]
  return { id: id.replace('chatcmpl', 'msg'), type: 'message', status: 'completed', role: 'assistant', content }
}

/** A stream's events, without their numbers. */
export function* eventsOf(completion: Completion, request: ResponsesRequest): Generator<{ readonly type: string }> {
  const item = messageOf(completion)
  const whole = responseOf(completion, request, [item])
  const begun = { ...whole, status: 'in_progress', incomplete_details: null, output: [], usage: null }
  const place = { item_id: item.id, output_index: 0, content_index: 0 }
  const [part] = item.content
  const logprobs: object[] = []
  yield event('created', { response: begun })
  yield event('in_progress', { response: begun })
  yield event('output_item.added', { output_index: 0, item: { ...item, status: 'in_progress', content: [] } })
  yield event('content_part.added', { ...place, part: { ...part, text: '' } })
  for (const delta of completion.pieces) yield event('output_text.delta', { ...place, delta, logprobs })
  yield event('output_text.done', { ...place, text: part?.text, logprobs })
  yield event('content_part.done', { ...place, part })
  yield event('output_item.done', { output_index: 0, item })
  yield event(whole.status, { response: whole })
}

function event(name: string, fields: object): { readonly type: string } {
  return { type: `response.${name}`, ...fields }
}
