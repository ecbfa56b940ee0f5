/* A model that answers all with the same, after LATENCY_MS (0). */
import { once } from 'node:events'
import { CHAT_ANSWER } from './answer.ts'
import { serveModel } from './model-server.ts'

serveModel(
  async (request) => {
    request.resume()
    await once(request, 'end')
    return { body: CHAT_ANSWER, input: 300, output: 240 }
  },
  Number(process.env.LATENCY_MS ?? 0),
)
