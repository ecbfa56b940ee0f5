/* A model at a help desk: the same question always takes the same tokens, another question others. */
import { json } from 'node:stream/consumers'
import { deskUsage } from '../desk/usage.ts'
import { serveModel } from './model-server.ts'

interface ChatBody {
  readonly messages: readonly { readonly content: string }[]
}

serveModel(async (request) => {
  const { messages } = (await json(request)) as ChatBody
  const usage = deskUsage(messages.map(({ content }) => content))
  const answer = {
    id: 'chatcmpl-desk',
    object: 'chat.completion',
    created: 1_700_000_000,
    model: 'desk',
    // Four bytes a token, as English has about.
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: 'You can. '.repeat(usage.output * 4).slice(0, usage.output * 4) },
        finish_reason: 'stop',
      },
    ],
    usage: {
      prompt_tokens: usage.input,
      completion_tokens: usage.output,
      total_tokens: usage.input + usage.output,
    },
  }
  return { body: Buffer.from(JSON.stringify(answer)), ...usage }
}, 0)
