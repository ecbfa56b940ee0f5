import OpenAI, { AzureOpenAI, NotFoundError } from 'openai'
import { zodFunction, zodResponseFormat, zodResponsesFunction, zodTextFormat } from 'openai/helpers/zod'
import type { ResponseInputItem } from 'openai/resources/responses/responses'
import { afterAll, beforeAll, describe, expect, type TestContext, test } from 'vitest'
import { unique } from '../support/consumers.ts'
import { type Client, Place, type Session, ToolInput } from './client.ts'
import { clientConforms } from './client-conforms.ts'
import { type Gateway, startGateway } from './gateway.ts'
import { openTap } from './tap.ts'

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

const CLIENTS: readonly Omit<Client, 'packages' | 'obeys' | 'limitCode'>[] = [
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
for (const client of CLIENTS)
  clientConforms(
    {
      ...client,
      limitCode: /azure/i.test(client.name) ? '429' : 'rate_limit_exceeded',
      packages: ['openai'],
      obeys: true,
    },
    () => gateway,
  )

describe.concurrent('what else OpenAI’s clients ask', () => {
  const CLIENTS = [
    ['OpenAI', openai],
    ['Azure’s v1 paths', azureV1],
    ['AzureOpenAI', azure],
  ] as const
  const asking = () => [{ role: 'user' as const, content: unique('What is a tollgate?') }]

  async function opened({ onTestFinished }: TestContext, make: (origin: string, key: string) => OpenAI) {
    const tap = await openTap(gateway.origin)
    onTestFinished(tap.close)
    return { tap, client: make(tap.origin, await gateway.newKey('ample')) }
  }

  test.for(CLIENTS)('%s: which models there are', async ([, make], context) => {
    const { client } = await opened(context, make)
    const models = await Array.fromAsync(client.models.list())
    expect(models.map(({ id }) => id)).toEqual(expect.arrayContaining(['chat', 'azure-chat', 'embedding']))
    expect(models.every(({ object }) => object === 'model')).toBe(true)
  })

  test.for(CLIENTS)('%s: an answer says what it cost, and its id', async ([, make], context) => {
    const { client } = await opened(context, make)
    const { request_id, response } = await client.chat.completions
      .create({ model: 'chat', messages: asking() })
      .withResponse()
    // 11 tokens at 2 and 7 at 8 dollars a million.
    expect(Number(response.headers.get('x-tollgate-cost'))).toBeCloseTo(0.000078, 9)
    expect(request_id).toBe(response.headers.get('x-request-id'))
  })

  test.for(CLIENTS)('%s: a dry run tells the verdict, and calls no model', async ([, make], context) => {
    const { client } = await opened(context, make)
    const prompt = unique('What is a tollgate?')
    const body = { model: 'chat', messages: [{ role: 'user' as const, content: prompt }] }
    const dryRun = async () => {
      const headers = { 'x-tollgate-dry-run': 'true' }
      return (await client.chat.completions.create(body, { headers }).asResponse()).json()
    }
    expect(await dryRun()).toMatchObject({ dry_run: true, verdict: 'model_asked', model: 'chat', cache: 'miss' })
    expect(gateway.model.asked(prompt)).toEqual([])
    await client.chat.completions.create(body)
    expect(await dryRun()).toMatchObject({ verdict: 'answered_from_cache', cache: 'hit' })
    expect(gateway.model.asked(prompt)).toHaveLength(1)
  })

  test.for(CLIENTS)('%s: a stream has its usage where it was asked for, and no padding', async ([, make], context) => {
    const { client } = await opened(context, make)
    const chunksOf = async (more: object) =>
      Array.fromAsync(
        await client.chat.completions.create({ model: 'chat', messages: asking(), stream: true, ...more }),
      )
    const bare = await chunksOf({})
    expect(bare.every(({ choices, usage }) => choices.length === 1 && !usage)).toBe(true)
    expect(bare.filter((chunk) => 'obfuscation' in chunk)).toEqual([])
    const told = await chunksOf({ stream_options: { include_usage: true } })
    expect(told.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: 11, completion_tokens: 7 } })
  })

  test.for(CLIENTS)('%s: a loop that is left ends the call to the model', async ([, make], context) => {
    const { client } = await opened(context, make)
    const prompt = unique('What is a tollgate?')
    gateway.model.next(prompt, { kind: 'silent' })
    const messages = [{ role: 'user' as const, content: prompt }]
    const chunks = await client.chat.completions.create({ model: 'chat', messages, stream: true })
    for await (const { choices } of chunks) if (choices[0]?.delta.content) break
    await context.expect.poll(() => gateway.model.abandoned(prompt), { timeout: 10_000 }).toBe(1)
  })

  test('a deployment decides, whatever model the body names', async (context) => {
    const { client } = await opened(
      context,
      (origin, apiKey) =>
        new AzureOpenAI({ endpoint: `${origin}/api`, apiKey, apiVersion: '2024-10-21', deployment: 'azure-chat' }),
    )
    const { choices } = await client.chat.completions.create({ model: 'unknown', messages: asking() })
    expect(choices[0]?.message.content).toContain('answer 1')
  })

  const UNMETERED: Readonly<Record<string, (client: OpenAI) => PromiseLike<unknown>>> = {
    speech: (client) => client.audio.speech.create({ model: 'chat', input: 'a', voice: 'alloy' }),
    images: (client) => client.images.generate({ model: 'chat', prompt: 'a' }),
    files: (client) => client.files.list(),
    batches: (client) => client.batches.list(),
    assistants: (client) => client.beta.assistants.list(),
    'a stored response': (client) => client.responses.retrieve('resp_1'),
  }
  test.for(CLIENTS.flatMap(([name, make]) => Object.keys(UNMETERED).map((what) => [name, what, make] as const)))(
    '%s: %s is refused by a 404 that says why, once',
    async ([, what, make], context) => {
      const { client, tap } = await opened(context, make)
      const error = await Promise.resolve(UNMETERED[what]?.(client)).then(
        () => undefined,
        (error: unknown) => error,
      )
      expect(error).toBeInstanceOf(NotFoundError)
      expect((error as NotFoundError).message).toMatch(/can't be metered|Nothing is kept/)
      expect(tap.arrivals).toHaveLength(1)
    },
  )

  test.for(CLIENTS)('%s: a response with state is refused by name', async ([, make], context) => {
    const { client, tap } = await opened(context, make)
    const body = { model: 'chat', input: unique('What is a tollgate?') }
    for (const [param, state] of [
      ['store', { store: true }],
      ['previous_response_id', { store: false, previous_response_id: 'resp_1' }],
    ] as const) {
      const refused = client.responses.create({ ...body, ...state })
      await expect(refused).rejects.toMatchObject({ status: 400, param })
    }
    expect(tap.arrivals).toHaveLength(2)
    expect(gateway.model.asked(body.input)).toEqual([])
  })
})
