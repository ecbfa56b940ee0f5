/* A model whose answers are long, so that a cache is soon full of them. */
import { once } from 'node:events'
import { serveModel } from '../../cache/servers/model-server.ts'

const BYTES = 16 * 1024
const WORDS = 'A tollgate lets through who has paid, counts who went by, and keeps the road in repair. '
const content = WORDS.repeat(Math.ceil(BYTES / WORDS.length)).slice(0, BYTES)
const body = Buffer.from(
  JSON.stringify({
    id: 'chatcmpl-long',
    object: 'chat.completion',
    created: 1_700_000_000,
    model: 'long',
    choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 30, completion_tokens: 4_000, total_tokens: 4_030 },
  }),
)

serveModel(async (request) => {
  request.resume()
  await once(request, 'end')
  return { body, input: 30, output: 4_000 }
}, 0)
