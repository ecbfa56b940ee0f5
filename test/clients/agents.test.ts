import { Agent, OpenAIProvider, Runner, tool as toolOf } from '@openai/agents'
import { afterAll, beforeAll } from 'vitest'
import { type Asking, type Client, Place, type Session, ToolInput } from './client.ts'
import { clientConforms } from './client-conforms.ts'
import { type Gateway, startGateway } from './gateway.ts'

let gateway: Gateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway?.stop())

function session(provider: OpenAIProvider): Session {
  const runner = new Runner({ modelProvider: provider, tracingDisabled: true })
  const agent = ({ model }: Asking) => new Agent({ name: 'Guide', model, modelSettings: { store: false } })
  return {
    async ask(prompt, options) {
      const { finalOutput } = await runner.run(agent(options), prompt, { ...options })
      return finalOutput ?? ''
    },
    async *stream(prompt, options) {
      const result = await runner.run(agent(options), prompt, { ...options, stream: true })
      yield* result.toTextStream()
      await result.completed
    },
    async callTool(prompt, { tool, streamed, ...options }) {
      const locate = toolOf({
        name: 'locate',
        description: 'Where a place is',
        parameters: ToolInput,
        execute: async (input) => tool(input),
      })
      const guide = agent(options).clone({ tools: [locate] })
      if (!streamed) return (await runner.run(guide, prompt)).finalOutput ?? ''
      const result = await runner.run(guide, prompt, { stream: true })
      await result.completed
      return result.finalOutput ?? ''
    },
    async parse(prompt, { model }) {
      const guide = new Agent({ name: 'Guide', model, modelSettings: { store: false }, outputType: Place })
      return (await runner.run(guide, prompt)).finalOutput
    },
  }
}

const CLIENTS: readonly Omit<Client, 'packages' | 'obeys' | 'limitCode'>[] = [
  {
    name: 'responses',
    model: 'chat',
    open: (origin, apiKey) => session(new OpenAIProvider({ baseURL: `${origin}/api/v1`, apiKey, useResponses: true })),
  },
  {
    name: 'chat completions',
    model: 'chat',
    open: (origin, apiKey) => session(new OpenAIProvider({ baseURL: `${origin}/api/v1`, apiKey, useResponses: false })),
  },
]
for (const client of CLIENTS)
  clientConforms(
    { ...client, limitCode: 'rate_limit_exceeded', packages: ['@openai/agents'], obeys: false },
    () => gateway,
  )
