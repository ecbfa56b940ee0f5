import type { ServerResponse } from 'node:http'
import { type ReceivedCall, startUpstream } from '../support/upstream.ts'

/**
 * A model that speaks chat completions (OpenAI's and Azure's), embeddings and responses, plain and streamed. It counts what
 * it is asked by prompt, and says something else each time, so that an answer of the cache is known.
 */
export interface Model {
  /** As an OpenAI SDK takes it, with /v1. */
  readonly baseUrl: string
  /** As an Azure SDK takes it. */
  readonly origin: string
  /** The calls for this prompt. */
  asked(prompt: string): readonly ReceivedCall[]
  /** How many of them the other end has closed before they were answered. */
  abandoned(prompt: string): number
  /** What the next call for this prompt comes to; after it whole answers again. */
  next(prompt: string, turn: Turn): void
  close(): Promise<void>
}

export type Turn =
  /** Nothing more, after half of a stream or before a plain answer, until the other end closes. */
  | { readonly kind: 'silent' }
  /** After half of a stream: the connection is cut, or ends as if it were whole, or an error comes in its place. */
  | { readonly kind: 'cut' | 'short' | 'error' }
  /** A refusal in OpenAI's shape, of this call and of all after it. */
  | { readonly kind: 'refusal'; readonly status: number; readonly code?: string }
  /** A whole answer that tells so many tokens of output. */
  | { readonly kind: 'costly'; readonly output: number }

type Json = Record<string, unknown>

export async function startModel(): Promise<Model> {
  const upstream = await startUpstream()
  const topics = new Map<string, { calls: ReceivedCall[]; abandoned: number; turns: Turn[] }>()
  const of = (prompt: string) => {
    const topic = topics.get(prompt) ?? { calls: [], abandoned: 0, turns: [] }
    topics.set(prompt, topic)
    return topic
  }

  upstream.reply = (call, response) => {
    const prompt = promptOf(call.body)
    const topic = of(prompt)
    topic.calls.push(call)
    response.once('close', () => {
      if (!response.writableFinished) topic.abandoned += 1
    })
    const turn = topic.turns[0]
    if (turn?.kind === 'refusal') return refuse(response, turn)
    topic.turns.shift()
    const said = saying(call, prompt, topic.calls.length)
    const output = turn?.kind === 'costly' ? turn.output : 7
    const path = call.path.split('?')[0] ?? ''
    if (path.endsWith('/embeddings')) return json(response, 200, embeddings(call.body))
    const speaks = path.endsWith('/responses') ? responses : chat(path.includes('/deployments/'))
    if (call.body.stream !== true) {
      if (turn?.kind === 'silent') return
      return json(response, 200, speaks.answer(call.body, said, output))
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const events = speaks.events(call.body, said, output)
    if (turn === undefined || turn.kind === 'costly') return response.end(events.join(''))
    // Half of the events holds text and no end.
    response.write(events.slice(0, Math.ceil(events.length / 2)).join(''))
    if (turn.kind === 'cut') setImmediate(() => response.destroy())
    if (turn.kind === 'short') response.end()
    if (turn.kind === 'error') response.end(speaks.error())
  }

  return {
    baseUrl: upstream.baseUrl,
    origin: upstream.origin,
    asked: (prompt) => of(prompt).calls,
    abandoned: (prompt) => of(prompt).abandoned,
    next: (prompt, turn) => void of(prompt).turns.push(turn),
    close: upstream.close,
  }
}

/** A text, or a call of the first tool that the request brings and whose result it doesn't hold yet. */
type Said = { readonly text: string } | { readonly tool: string; readonly arguments: string }

function saying({ body }: ReceivedCall, prompt: string, count: number): Said {
  const items = (body.messages ?? body.input) as readonly Json[] | string
  const [tool] = (body.tools ?? []) as readonly Json[]
  const answered =
    typeof items !== 'string' && items.some(({ role, type }) => role === 'tool' || type === 'function_call_output')
  if (tool !== undefined && !answered) {
    const { name } = (tool.function ?? tool) as { readonly name: string }
    return { tool: name, arguments: JSON.stringify({ place: prompt }) }
  }
  const format = (body.response_format ?? (body.text as Json | undefined)?.format) as Json | undefined
  if (format?.type === 'json_schema') return { text: JSON.stringify({ place: prompt, count }) }
  return { text: `answer ${count} to ${prompt}` }
}

/** The last text that a user has said; of embeddings the first input. */
function promptOf(body: Json): string {
  const items = (body.messages ?? body.input) as readonly (Json | string)[] | string
  if (typeof items === 'string') return items
  const last = items.findLast((item) => typeof item === 'string' || item.role === 'user')
  const content = typeof last === 'object' ? last.content : last
  if (typeof content === 'string') return content
  return ((content ?? []) as readonly { readonly text?: string }[]).map(({ text = '' }) => text).join('')
}

const piecesOf = (text: string) => text.match(/.{1,8}/gs) ?? []

function chat(azure: boolean) {
  const whole = (said: Said) =>
    'text' in said
      ? { message: { role: 'assistant', content: said.text, refusal: null }, finish_reason: 'stop' }
      : {
          message: { role: 'assistant', content: null, tool_calls: [toolCall(said)] },
          finish_reason: 'tool_calls',
        }
  return {
    answer: ({ model }: Json, said: Said, output: number) => ({
      id: 'chatcmpl-1',
      object: 'chat.completion',
      created: 1_700_000_000,
      model: `${model}-2026`,
      choices: [{ index: 0, logprobs: null, ...whole(said) }],
      usage: { prompt_tokens: 11, completion_tokens: output, total_tokens: 11 + output },
    }),
    events({ model, stream_options }: Json, said: Said, output: number): readonly string[] {
      const head = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1_700_000_000, model: `${model}-2026` }
      const told = (stream_options as Json | undefined)?.include_usage === true
      const chunk = (delta: Json, finish_reason: string | null = null) =>
        data({
          ...head,
          choices: [{ index: 0, delta, logprobs: null, finish_reason }],
          ...(told ? { usage: null } : {}),
          obfuscation: 'x'.repeat(7),
        })
      const deltas: readonly Json[] =
        'text' in said
          ? piecesOf(said.text).map((content) => ({ content }))
          : [
              { tool_calls: [{ index: 0, ...toolCall({ ...said, arguments: '' }) }] },
              ...piecesOf(said.arguments).map((piece) => ({
                tool_calls: [{ index: 0, function: { arguments: piece } }],
              })),
            ]
      return [
        ...(azure ? [data({ id: '', object: '', created: 0, model: '', choices: [], prompt_filter_results: [] })] : []),
        chunk({ role: 'assistant', content: '' }),
        ...deltas.map((delta) => chunk(delta)),
        chunk({}, whole(said).finish_reason),
        ...(told
          ? [
              data({
                ...head,
                choices: [],
                usage: { prompt_tokens: 11, completion_tokens: output, total_tokens: 11 + output },
              }),
            ]
          : []),
        'data: [DONE]\n\n',
      ]
    },
    error: () => data({ error: { message: 'The model has failed.', type: 'server_error', code: null, param: null } }),
  }
}

function toolCall(said: { readonly tool: string; readonly arguments: string }) {
  return { id: 'call_1', type: 'function', function: { name: said.tool, arguments: said.arguments } }
}

const responses = {
  answer: (body: Json, said: Said, output: number) => response(body, 'completed', [item(said)], output),
  events(body: Json, said: Said, output: number): readonly string[] {
    const done = item(said)
    const at = { item_id: done.id, output_index: 0 }
    const events: readonly Json[] = [
      { type: 'response.created', response: response(body, 'in_progress', []) },
      { type: 'response.in_progress', response: response(body, 'in_progress', []) },
      ...('text' in said ? textEvents(said.text, done, at) : toolEvents(said.arguments, done, at)),
      { type: 'response.output_item.done', output_index: 0, item: done },
      { type: 'response.completed', response: response(body, 'completed', [done], output) },
    ]
    return events.map((each, sequence_number) => event({ ...each, sequence_number }))
  },
  error: () =>
    event({ type: 'error', code: 'server_error', message: 'The model has failed.', param: null, sequence_number: 99 }),
}

function textEvents(text: string, done: Json, at: Json): readonly Json[] {
  const place = { ...at, content_index: 0 }
  const part = (text: string) => ({ type: 'output_text', text, annotations: [], logprobs: [] })
  return [
    { type: 'response.output_item.added', output_index: 0, item: { ...done, status: 'in_progress', content: [] } },
    { type: 'response.content_part.added', ...place, part: part('') },
    ...piecesOf(text).map((delta) => ({
      type: 'response.output_text.delta',
      ...place,
      delta,
      logprobs: [],
      obfuscation: 'x'.repeat(7),
    })),
    { type: 'response.output_text.done', ...place, text, logprobs: [] },
    { type: 'response.content_part.done', ...place, part: part(text) },
  ]
}

function toolEvents(text: string, done: Json, at: Json): readonly Json[] {
  return [
    { type: 'response.output_item.added', output_index: 0, item: { ...done, status: 'in_progress', arguments: '' } },
    ...piecesOf(text).map((delta) => ({ type: 'response.function_call_arguments.delta', ...at, delta })),
    { type: 'response.function_call_arguments.done', ...at, arguments: text },
  ]
}

function item(said: Said) {
  return 'text' in said
    ? {
        id: 'msg_1',
        type: 'message',
        status: 'completed',
        role: 'assistant',
        content: [{ type: 'output_text', text: said.text, annotations: [], logprobs: [] }],
      }
    : {
        id: 'fc_1',
        type: 'function_call',
        status: 'completed',
        call_id: 'call_1',
        name: said.tool,
        arguments: said.arguments,
      }
}

function response(body: Json, status: string, output: readonly Json[], outputTokens?: number) {
  return {
    id: 'resp_1',
    object: 'response',
    created_at: 1_700_000_000,
    status,
    background: false,
    error: null,
    incomplete_details: null,
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_output_tokens ?? null,
    metadata: {},
    model: `${body.model}-2026`,
    output,
    parallel_tool_calls: true,
    previous_response_id: null,
    reasoning: { effort: null, summary: null },
    service_tier: 'default',
    store: body.store ?? true,
    temperature: 1,
    text: body.text ?? { format: { type: 'text' } },
    tool_choice: 'auto',
    tools: body.tools ?? [],
    top_p: 1,
    truncation: 'disabled',
    usage:
      outputTokens === undefined
        ? null
        : {
            input_tokens: 11,
            input_tokens_details: { cached_tokens: 0 },
            output_tokens: outputTokens,
            output_tokens_details: { reasoning_tokens: 0 },
            total_tokens: 11 + outputTokens,
          },
  }
}

function embeddings({ input, model, encoding_format }: Json) {
  const inputs = typeof input === 'string' ? [input] : (input as readonly unknown[])
  const vector = (text: unknown) => new Float32Array([String(text).length, 0.5, -0.25])
  return {
    object: 'list',
    data: inputs.map((text, index) => ({
      object: 'embedding',
      index,
      embedding: encoding_format === 'base64' ? Buffer.from(vector(text).buffer).toString('base64') : [...vector(text)],
    })),
    model: `${model}-2026`,
    usage: { prompt_tokens: 5 * inputs.length, total_tokens: 5 * inputs.length },
  }
}

const data = (json: Json) => `data: ${JSON.stringify(json)}\n\n`
const event = (json: Json) => `event: ${json.type}\n${data(json)}`

function json(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

function refuse(
  response: ServerResponse,
  { status, code = null }: { readonly status: number; readonly code?: string | null },
) {
  json(response, status, { error: { message: 'The model refuses.', type: 'invalid_request_error', param: null, code } })
}
