import { Agent, request } from 'node:http'

export interface Question {
  readonly key: string
  readonly body: string
}

/**
 * Asks a gateway in this order, so many at a time.
 *
 * @throws when an answer is no 200.
 */
export async function askAll(url: string, questions: readonly Question[], atATime: number): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: atATime })
  const left = questions.values()
  async function askOn(): Promise<void> {
    for (const question of left) {
      const status = await ask(agent, url, question)
      if (status !== 200) throw new Error(`The gateway answered ${status}`)
    }
  }
  try {
    await Promise.all(Array.from({ length: atATime }, askOn))
  } finally {
    agent.destroy()
  }
}

function ask(agent: Agent, url: string, { key, body }: Question): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = { 'x-api-key': key, 'content-length': Buffer.byteLength(body) }
    const asked = request(`${url}/api/generate`, { agent, method: 'POST', headers }, (response) => {
      response.resume()
      response.on('end', () => resolve(response.statusCode ?? 0)).on('error', reject)
    })
    asked.on('error', reject)
    asked.end(body)
  })
}
