import { startSimulatedModel } from '@tollgate/local-host'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

let model: Awaited<ReturnType<typeof startSimulatedModel>>
let client: OpenAI
beforeAll(async () => {
  model = await startSimulatedModel()
  client = new OpenAI({ baseURL: model.url, apiKey: 'any', maxRetries: 0 })
})
afterAll(() => model?.close())

const ask = (prompt: string) => ({ model: 'm', messages: [{ role: 'user' as const, content: prompt }] })

describe('the simulated model', () => {
  test('answers the SDK, the same for the same prompt, and says what it is', async () => {
    const [one, again, other] = [
      await client.chat.completions.create(ask('Why?')),
      await client.chat.completions.create(ask('Why?')),
      await client.chat.completions.create(ask('Why not?')),
    ]
    expect(again).toEqual(one)
    expect(other.id).not.toBe(one.id)
    expect(one.choices[0]?.message.content).toBe('This is a simulated answer to: Why?')
    expect(one.usage?.total_tokens).toBe((one.usage?.prompt_tokens ?? 0) + (one.usage?.completion_tokens ?? 0))
  })

  test('streams the same text, with usage where it is asked for', async () => {
    const plain = await client.chat.completions.create(ask('Why?'))
    let text = ''
    let usage: unknown
    for await (const chunk of await client.chat.completions.create({
      ...ask('Why?'),
      stream: true,
      stream_options: { include_usage: true },
    })) {
      text += chunk.choices[0]?.delta.content ?? ''
      usage = chunk.usage ?? usage
    }
    expect(text).toBe(plain.choices[0]?.message.content)
    expect(usage).toEqual(plain.usage)
  })

  test('answers what it does not know in OpenAI’s error shape', async () => {
    await expect(client.models.list()).rejects.toMatchObject({ status: 404, code: 'not_found' })
  })
})
