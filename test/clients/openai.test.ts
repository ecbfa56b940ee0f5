import OpenAI, { AzureOpenAI } from 'openai'
import { zodFunction, zodResponseFormat, zodResponsesFunction, zodTextFormat } from 'openai/helpers/zod'
import type { ResponseInputItem } from 'openai/resources/responses/responses'
import { afterAll, beforeAll } from 'vitest'
import { type Client, Place, type Session, ToolInput } from './client.ts'
import { clientConforms } from './client-conforms.ts'
import { type Gateway, startGateway } from './gateway.ts'

let gateway: Gateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway?.stop())

const chat = (client: OpenAI): Session => ({
  async ask(prompt, { model, signal }) {
    const messages = [{ role: 'user' as const, content: prompt }]
    const { choices } = await client.chat.completions.create({ model, messages }, { signal })
    return choices[0]?.message.content ?? ''
  },
  async *stream(prompt, { model, signal }) {
    const messages = [{ role: 'user' as const, content: prompt }]
    const chunks = await client.chat.completions.create({ model, messages, stream: true }, { signal })
    for await (const { choices } of chunks) yield choices[0]?.delta.content ?? ''
  },
  async callTool(prompt, { model, tool, streamed }) {
    const locate = zodFunction({ name: 'locate', parameters: ToolInput, function: tool })
    const body = { model, messages: [{ role: 'user' as const, content: prompt }], tools: [locate] }
    const runner = streamed
      ? client.chat.completions.runTools({ ...body, stream: true })
      : client.chat.completions.runTools(body)
    return (await runner.finalContent()) ?? ''
  },
  async parse(prompt, { model }) {
    const messages = [{ role: 'user' as const, content: prompt }]
    const response_format = zodResponseFormat(Place, 'place')
    const { choices } = await client.chat.completions.parse({ model, messages, response_format })
    return choices[0]?.message.parsed
  },
  async embed(input, { model }) {
    const { data } = await client.embeddings.create({ model, input })
    return data.map(({ embedding }) => embedding)
  },
})

const responses = (client: OpenAI): Session => ({
  async ask(prompt, { model, signal }) {
    const { output_text } = await client.responses.create({ model, input: prompt, store: false }, { signal })
    return output_text
  },
  async *stream(prompt, { model, signal }) {
    const events = await client.responses.create({ model, input: prompt, store: false, stream: true }, { signal })
    for await (const event of events) if (event.type === 'response.output_text.delta') yield event.delta
  },
  async callTool(prompt, { model, tool, streamed }) {
    const tools = [zodResponsesFunction({ name: 'locate', parameters: ToolInput })]
    const ask = (input: ResponseInputItem[]) => {
      const body = { model, input, tools, store: false }
      return streamed ? client.responses.stream(body).finalResponse() : client.responses.parse(body)
    }
    const input: ResponseInputItem[] = [{ role: 'user', content: prompt }]
    const { output } = await ask(input)
    for (const item of output) {
      if (item.type !== 'function_call') continue
      const { parsed_arguments: _, ...call } = item
      input.push(call, {
        type: 'function_call_output',
        call_id: call.call_id,
        output: tool(ToolInput.parse(JSON.parse(call.arguments))),
      })
    }
    return (await ask(input)).output_text
  },
  async parse(prompt, { model }) {
    const text = { format: zodTextFormat(Place, 'place') }
    return (await client.responses.parse({ model, input: prompt, text, store: false })).output_parsed
  },
})

const openai = (origin: string, apiKey: string) => new OpenAI({ baseURL: `${origin}/api/v1`, apiKey })
const azure = (origin: string, apiKey: string) =>
  new AzureOpenAI({ endpoint: `${origin}/api`, apiKey, apiVersion: '2024-10-21' })
const azureV1 = (origin: string, apiKey: string) => new OpenAI({ baseURL: `${origin}/api/openai/v1`, apiKey })

const CLIENTS: readonly Omit<Client, 'packages' | 'obeys'>[] = [
  { name: '`OpenAI`, chat completions', model: 'chat', embeds: true, open: (origin, key) => chat(openai(origin, key)) },
  { name: '`OpenAI`, responses', model: 'chat', open: (origin, key) => responses(openai(origin, key)) },
  {
    name: '`OpenAI` on Azure’s v1 paths',
    model: 'azure-chat',
    embeds: true,
    open: (origin, key) => chat(azureV1(origin, key)),
  },
  {
    name: '`AzureOpenAI`, chat completions',
    model: 'azure-chat',
    embeds: true,
    open: (origin, key) => chat(azure(origin, key)),
  },
  { name: '`AzureOpenAI`, responses', model: 'chat', open: (origin, key) => responses(azure(origin, key)) },
]
for (const client of CLIENTS) clientConforms({ ...client, packages: ['openai'], obeys: true }, () => gateway)
