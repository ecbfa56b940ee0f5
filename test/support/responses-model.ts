import type { ServerResponse } from 'node:http'
import type { ReceivedCall } from './upstream.ts'

/* A model's server that speaks OpenAI's responses, as `Upstream.reply`. */

type Fields = Record<string, unknown>
type Reply = (call: ReceivedCall, response: ServerResponse) => unknown

export const RESPONSE_USAGE = {
  input_tokens: 30,
  input_tokens_details: { cached_tokens: 10 },
  output_tokens: 12,
  output_tokens_details: { reasoning_tokens: 5 },
  total_tokens: 42,
}

/** An assistant's message of this text. */
export function messageItem(text: string): Fields {
  const content = [{ type: 'output_text', text, annotations: [], logprobs: [] }]
  return { id: 'msg_1', type: 'message', status: 'completed', role: 'assistant', content }
}

export function thoughtItem(summary: string): Fields {
  return {
    id: 'rs_1',
    type: 'reasoning',
    summary: [{ type: 'summary_text', text: summary }],
    encrypted_content: 'gAAAA',
  }
}

export function functionItem(name: string, args: object): Fields {
  const call = { name, call_id: 'call_1', arguments: JSON.stringify(args) }
  return { id: 'fc_1', type: 'function_call', status: 'completed', ...call }
}

/** A response that repeats its request, as the service does. @param change what the test wants different */
export function responseOf(
  { body }: Pick<ReceivedCall, 'body'>,
  output: readonly Fields[],
  change: Fields = {},
): Fields {
  const { input: _input, stream: _stream, stream_options: _options, include: _include, ...asked } = body
  return {
    id: 'resp_1',
    object: 'response',
    created_at: 1_790_000_000,
    status: 'completed',
    background: false,
    completed_at: 1_790_000_001,
    error: null,
    incomplete_details: null,
    instructions: null,
    max_output_tokens: null,
    metadata: {},
    output,
    parallel_tool_calls: true,
    previous_response_id: null,
    reasoning: { effort: null, summary: null },
    service_tier: 'default',
    temperature: 1,
    text: { format: { type: 'text' } },
    tool_choice: 'auto',
    tools: [],
    top_p: 1,
    truncation: 'disabled',
    ...asked,
    model: `${body.model}-2026`,
    usage: RESPONSE_USAGE,
    ...change,
  }
}

/** A whole response of these items. */
export function responding(output: readonly Fields[] = [messageItem('Hello')], change: Fields = {}): Reply {
  return (call, response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify(responseOf(call, output, change)))
  }
}

export interface StreamedOptions {
  /** Waited for before the second item's text. */
  readonly before?: () => unknown
  /** What comes in place of the last event. */
  readonly end?: (response: ServerResponse, number: number) => unknown
}

/** The same as a stream of a message's words, as the service sends it: named events, numbered and padded. */
export function streamingResponse(words: readonly string[], { before, end }: StreamedOptions = {}): Reply {
  return async (call, response) => {
    let sequence_number = 0
    const send = (type: string, fields: Fields) => {
      response.write(`event: ${type}\ndata: ${JSON.stringify({ type, sequence_number, ...fields })}\n\n`)
      sequence_number += 1
    }
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' })
    const item = messageItem(words.join(''))
    const [part] = item.content as Fields[]
    const whole = responseOf(call, [item])
    const begun = { ...whole, status: 'in_progress', completed_at: null, output: [], usage: null }
    const place = { item_id: item.id, output_index: 0, content_index: 0 }
    send('response.created', { response: begun })
    send('response.in_progress', { response: begun })
    send('response.output_item.added', { output_index: 0, item: { ...item, status: 'in_progress', content: [] } })
    send('response.content_part.added', { ...place, part: { ...part, text: '' } })
    for (const [index, delta] of words.entries()) {
      if (index === 1) await before?.()
      if (response.destroyed) return
      send('response.output_text.delta', { ...place, delta, logprobs: [], obfuscation: 'xYz123' })
    }
    if (end !== undefined) return void end(response, sequence_number)
    send('response.output_text.done', { ...place, text: part?.text, logprobs: [] })
    send('response.content_part.done', { ...place, part })
    send('response.output_item.done', { output_index: 0, item })
    send('response.completed', { response: whole })
    response.end()
  }
}
