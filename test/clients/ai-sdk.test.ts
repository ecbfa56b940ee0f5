import { createAzure } from '@ai-sdk/azure'
import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import {
  type EmbeddingModel,
  embedMany,
  generateText,
  isStepCount,
  type LanguageModel,
  Output,
  streamText,
  tool,
} from 'ai'
import { afterAll, beforeAll } from 'vitest'
import { type Asking, type Client, Place, type Session, ToolInput } from './client.ts'
import { clientConforms } from './client-conforms.ts'
import { type Gateway, startGateway } from './gateway.ts'

let gateway: Gateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway?.stop())

/** Without state, where a provider speaks of it. */
const providerOptions = { openai: { store: false }, azure: { store: false } }

function session(modelOf: (name: string) => LanguageModel, embedding?: EmbeddingModel): Session {
  const asked = ({ model, signal }: Asking) => ({
    model: modelOf(model),
    providerOptions,
    ...(signal ? { abortSignal: signal } : {}),
  })
  return {
    async ask(prompt, options) {
      const { text } = await generateText({ ...asked(options), prompt })
      return text
    },
    async *stream(prompt, options) {
      const { fullStream } = streamText({ ...asked(options), prompt, onError: () => {} })
      for await (const part of fullStream) {
        if (part.type === 'text-delta') yield part.text
        // What has gone wrong is a part like others.
        if (part.type === 'error') throw part.error
      }
    },
    async callTool(prompt, { tool: execute, streamed, ...options }) {
      const tools = { locate: tool({ inputSchema: ToolInput, execute: (input) => execute(input) }) }
      const asking = { ...asked(options), prompt, tools, stopWhen: isStepCount(2) }
      return streamed ? streamText(asking).text : (await generateText(asking)).text
    },
    async parse(prompt, options) {
      const { output } = await generateText({ ...asked(options), prompt, output: Output.object({ schema: Place }) })
      return output
    },
    ...(embedding ? { embed: async (values) => (await embedMany({ model: embedding, values })).embeddings } : {}),
  }
}

const openai = (origin: string, apiKey: string) => createOpenAI({ baseURL: `${origin}/api/v1`, apiKey })
const azure = (origin: string, apiKey: string) => createAzure({ baseURL: `${origin}/api/openai/v1`, apiKey })
const deployments = (origin: string, apiKey: string) =>
  createAzure({
    baseURL: `${origin}/api/openai`,
    apiKey,
    useDeploymentBasedUrls: true,
    apiVersion: '2024-10-21',
  })

const CLIENTS: readonly Omit<Client, 'obeys' | 'limitCode'>[] = [
  {
    name: '`openai.chat`',
    embeds: true,
    packages: ['ai', '@ai-sdk/openai'],
    model: 'chat',
    open: (origin, key) =>
      session((name) => openai(origin, key).chat(name), openai(origin, key).embedding('embedding')),
  },
  {
    name: '`openai.responses`',
    packages: ['ai', '@ai-sdk/openai'],
    model: 'chat',
    open: (origin, key) => session((name) => openai(origin, key).responses(name)),
  },
  {
    name: '`azure.chat`',
    embeds: true,
    packages: ['ai', '@ai-sdk/azure'],
    model: 'azure-chat',
    open: (origin, key) => session((name) => azure(origin, key).chat(name), azure(origin, key).embedding('embedding')),
  },
  {
    name: '`azure.chat`, by deployment',
    embeds: true,
    packages: ['ai', '@ai-sdk/azure'],
    model: 'azure-chat',
    open: (origin, key) =>
      session((name) => deployments(origin, key).chat(name), deployments(origin, key).embedding('embedding')),
  },
  {
    name: '`azure.responses`',
    packages: ['ai', '@ai-sdk/azure'],
    model: 'chat',
    open: (origin, key) => session((name) => azure(origin, key).responses(name)),
  },
  {
    name: '`createOpenAICompatible`',
    packages: ['ai', '@ai-sdk/openai-compatible'],
    model: 'chat',
    embeds: true,
    open(origin, apiKey) {
      const provider = createOpenAICompatible({
        name: 'tollgate',
        baseURL: `${origin}/api/v1`,
        apiKey,
        supportsStructuredOutputs: true,
      })
      return session((name) => provider.chatModel(name), provider.embeddingModel('embedding'))
    },
  },
]
for (const client of CLIENTS)
  clientConforms(
    { ...client, limitCode: /azure/i.test(client.name) ? '429' : 'rate_limit_exceeded', obeys: false },
    () => gateway,
  )
