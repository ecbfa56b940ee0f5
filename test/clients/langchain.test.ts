import { type BaseMessage, HumanMessage } from '@langchain/core/messages'
import { tool as toolOf } from '@langchain/core/tools'
import { concat } from '@langchain/core/utils/stream'
import { AzureChatOpenAI, AzureOpenAIEmbeddings, ChatOpenAI, OpenAIEmbeddings } from '@langchain/openai'
import { afterAll, beforeAll } from 'vitest'
import { type Client, Place, type Session, ToolInput } from './client.ts'
import { clientConforms } from './client-conforms.ts'
import { type Gateway, startGateway } from './gateway.ts'

let gateway: Gateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway?.stop())

type Chat = ChatOpenAI | AzureChatOpenAI
type Embeddings = OpenAIEmbeddings | AzureOpenAIEmbeddings

const session = (modelOf: (name: string) => Chat, embedding?: (name: string) => Embeddings): Session => ({
  async ask(prompt, { model, signal }) {
    const { text } = await modelOf(model).invoke(prompt, signal ? { signal } : {})
    return text
  },
  async *stream(prompt, { model, signal }) {
    for await (const { text } of await modelOf(model).stream(prompt, signal ? { signal } : {})) yield text
  },
  async callTool(prompt, { model, tool, streamed }) {
    const locate = toolOf(async (input: Parameters<typeof tool>[0]) => tool(input), {
      name: 'locate',
      schema: ToolInput,
    })
    const bound = modelOf(model).bindTools([locate])
    const ask = async (messages: BaseMessage[]) =>
      streamed ? (await Array.fromAsync(await bound.stream(messages))).reduce(concat) : bound.invoke(messages)
    const messages: BaseMessage[] = [new HumanMessage(prompt)]
    const called = await ask(messages)
    messages.push(called)
    for (const call of called.tool_calls ?? []) messages.push(await locate.invoke({ ...call, type: 'tool_call' }))
    return (await ask(messages)).text
  },
  parse: (prompt, { model }) => modelOf(model).withStructuredOutput(Place, { method: 'jsonSchema' }).invoke(prompt),
  ...(embedding ? { embed: (inputs, { model }) => embedding(model).embedDocuments(inputs) } : {}),
})

const CLIENTS: readonly Omit<Client, 'packages' | 'obeys' | 'limitCode'>[] = [
  {
    name: '`ChatOpenAI`',
    embeds: true,
    model: 'chat',
    open: (origin, apiKey) =>
      session(
        (model) => new ChatOpenAI({ model, apiKey, configuration: { baseURL: `${origin}/api/v1` } }),
        (model) => new OpenAIEmbeddings({ model, apiKey, configuration: { baseURL: `${origin}/api/v1` } }),
      ),
  },
  {
    name: '`ChatOpenAI`, responses',
    model: 'chat',
    open: (origin, apiKey) =>
      session(
        (model) =>
          new ChatOpenAI({
            model,
            apiKey,
            configuration: { baseURL: `${origin}/api/v1` },
            useResponsesApi: true,
            zdrEnabled: true,
          }),
      ),
  },
  {
    name: '`AzureChatOpenAI`',
    embeds: true,
    model: 'azure-chat',
    open: (origin, azureOpenAIApiKey) =>
      session(
        (model) =>
          new AzureChatOpenAI({
            model,
            azureOpenAIApiKey,
            azureOpenAIEndpoint: `${origin}/api`,
            azureOpenAIApiDeploymentName: model,
            azureOpenAIApiVersion: '2024-10-21',
          }),
        (azureOpenAIApiEmbeddingsDeploymentName) =>
          new AzureOpenAIEmbeddings({
            azureOpenAIApiKey,
            azureOpenAIBasePath: `${origin}/api/openai/deployments`,
            azureOpenAIApiEmbeddingsDeploymentName,
            azureOpenAIApiVersion: '2024-10-21',
          }),
      ),
  },
]
for (const client of CLIENTS)
  clientConforms(
    {
      ...client,
      limitCode: /azure/i.test(client.name) ? '429' : 'rate_limit_exceeded',
      packages: ['@langchain/openai'],
      obeys: false,
    },
    () => gateway,
  )
