import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { targetAt } from '../../../../test/support/model-call.ts'
import type { AzureSettings, OpenAISettings, TargetSettings } from '../targets/index.ts'
import { azureToken, connect } from './index.ts'

const BODY = Buffer.from(JSON.stringify({ model: 'd', messages: [{ role: 'user', content: 'Why?' }] }))

/** What a target is really sent, as the SDK says. */
async function sent<S extends TargetSettings>(target: S, token = async () => 'entra-token') {
  const requests: { url: string; headers: Headers; redirect: unknown }[] = []
  const transport = connect({
    token,
    fetch: async (url, init) => {
      requests.push({ url: String(url), headers: new Headers(init?.headers), redirect: init?.redirect })
      return Response.json({ choices: [] })
    },
  })
  const { signal } = new AbortController()
  await transport.send(target, { path: '/chat/completions' }, BODY, { signal, progress: {} })
  expect(requests).toHaveLength(1)
  const [request] = requests
  if (request === undefined) throw new Error('nothing was sent')
  return { ...request, authorization: request.headers.get('authorization'), apiKey: request.headers.get('api-key') }
}

const azure = (change: object): AzureSettings => ({
  kind: 'azure',
  endpoint: 'https://x.openai.azure.com',
  model: 'd',
  apiVersion: undefined,
  key: undefined,
  ...change,
})

describe('a target is reached', () => {
  afterEach(() => {
    vi.unstubAllEnvs()
  })

  test('Azure, with a key, by /openai/v1/', async () => {
    expect(await sent(azure({ key: 'k' }))).toMatchObject({
      url: 'https://x.openai.azure.com/openai/v1/chat/completions',
      authorization: 'Bearer k',
    })
  })

  test('Azure, with a dated API, by the deployment’s path', async () => {
    expect(await sent(azure({ key: 'k', apiVersion: '2024-10-21' }))).toMatchObject({
      url: 'https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21',
      apiKey: 'k',
    })
  })

  test.each([undefined, '2024-10-21'])('Azure, without a key, by identity (API %s)', async (apiVersion) => {
    expect(await sent(azure({ apiVersion }))).toMatchObject({ authorization: 'Bearer entra-token', apiKey: null })
  })

  test('any other server, with a key and without one', async () => {
    const other = { kind: 'openai', baseUrl: 'http://127.0.0.1:11434/v1', model: 'm' } as const
    expect(await sent({ ...other, key: 'k' })).toMatchObject({
      url: 'http://127.0.0.1:11434/v1/chat/completions',
      authorization: 'Bearer k',
    })
    expect(await sent({ ...other, key: undefined })).toMatchObject({ authorization: null })
  })

  test('as our settings say, whatever else the environment tells the SDK', async () => {
    vi.stubEnv('OPENAI_BASE_URL', 'https://elsewhere.example/v1')
    vi.stubEnv('OPENAI_API_KEY', 'sk-elsewhere')
    vi.stubEnv('OPENAI_ORG_ID', 'org-elsewhere')
    vi.stubEnv('OPENAI_PROJECT_ID', 'proj-elsewhere')
    vi.stubEnv('AZURE_OPENAI_API_KEY', 'k-elsewhere')
    vi.stubEnv('AZURE_OPENAI_ENDPOINT', 'https://elsewhere.example')
    vi.stubEnv('OPENAI_CUSTOM_HEADERS', 'Authorization: Bearer elsewhere\napi-key: elsewhere\nx-elsewhere: 1')
    for (const apiVersion of [undefined, '2024-10-21']) {
      const { url, authorization, headers } = await sent(azure({ apiVersion }))
      expect(url).toContain('https://x.openai.azure.com/')
      expect(authorization).toBe('Bearer entra-token')
      expect(headers.get('openai-organization')).toBeNull()
      expect(headers.get('openai-project')).toBeNull()
      expect(headers.get('x-elsewhere')).toBeNull()
      expect(headers.get('api-key')).toBeNull()
    }
  })

  test('and a redirect is not followed, which could take the key along', async () => {
    expect((await sent(azure({ key: 'k' }))).redirect).toBe('error')
    // With an api-key header the SDK takes redirects as answers itself, which are no completions.
    expect((await sent(azure({ key: 'k', apiVersion: '2024-10-21' }))).redirect).toBe('manual')
  })
})

test('a token is asked for with each call, and its source caches it', async () => {
  const seen: (string | null)[] = []
  let tokens = 0
  const transport = connect({
    token: async () => `token-${++tokens}`,
    fetch: async (_url, init) => {
      seen.push(new Headers(init?.headers).get('authorization'))
      return Response.json({ choices: [] })
    },
  })
  const target = azure({})
  const { signal } = new AbortController()
  const ask = () => transport.send(target, { path: '/chat/completions' }, BODY, { signal, progress: {} })
  for (let call = 0; call < 3; call += 1) await ask()
  expect(seen).toEqual(['Bearer token-1', 'Bearer token-2', 'Bearer token-3'])
})

describe('managed identity', () => {
  const server = createServer((request, response) => {
    asked.push({ url: request.url ?? '', secret: request.headers['x-identity-header'] })
    const expires = Math.floor(Date.now() / 1000) + 3_600
    response.setHeader('content-type', 'application/json')
    response.end(
      JSON.stringify({
        access_token: 'from-the-platform',
        ...padding,
        expires_on: String(expires),
        resource: 'r',
        token_type: 'Bearer',
      }),
    )
  })
  const asked: { url: string; secret: unknown }[] = []
  let padding = {}
  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    vi.stubEnv('IDENTITY_ENDPOINT', `http://127.0.0.1:${(server.address() as AddressInfo).port}/msi/token`)
    vi.stubEnv('IDENTITY_HEADER', 'platform-secret')
  })
  afterAll(() => {
    vi.unstubAllEnvs()
    server.close()
  })

  test('gets its token from the platform, for Azure AI and the identity that is named, once', async () => {
    const token = azureToken('11111111-2222-3333-4444-555555555555')
    expect(await sent(azure({}), token)).toMatchObject({ authorization: 'Bearer from-the-platform' })
    expect(await token()).toBe('from-the-platform')
    expect(asked).toHaveLength(1)
    const query = new URL(asked[0]?.url ?? '', 'http://127.0.0.1').searchParams
    expect(query.get('resource')).toBe('https://cognitiveservices.azure.com')
    expect(query.get('client_id')).toBe('11111111-2222-3333-4444-555555555555')
    expect(asked[0]?.secret).toBe('platform-secret')
  })

  test('C1: is read no further than any token is long', async () => {
    padding = { padding: 'x'.repeat(1024 * 1024) }
    await expect(azureToken('22222222-2222-3333-4444-555555555555')()).rejects.toThrow()
    padding = {}
    expect(await azureToken('22222222-2222-3333-4444-555555555555')()).toBe('from-the-platform')
  })
})

describe('a target’s identity', () => {
  const openai = (baseUrl: string, model = 'm'): OpenAISettings => ({ kind: 'openai', baseUrl, model, key: 'k' })
  const identity = <S extends TargetSettings>(settings: S) => targetAt(settings).identity

  test('differs where answers may differ', () => {
    const all = [
      openai('https://api.openai.com/v1'),
      openai('https://api.openai.com/v1', 'n'),
      openai('https://llm.example/v1'),
      openai('https://llm.example/v2'),
      azure({}),
      azure({ apiVersion: '2024-10-21' }),
      azure({ model: 'e' }),
    ]
    expect(new Set(all.map(identity)).size).toBe(all.length)
  })

  test('holds no key, and stays when the simulated model comes up on another port, and only then', () => {
    expect(identity({ ...openai('https://llm.example/v1'), key: 'secret' })).not.toContain('secret')
    const simulated = (port: number) => identity(openai(`http://127.0.0.1:${port}/simulated/v1`))
    expect(simulated(4001)).toBe(simulated(4002))
    expect(identity(openai('http://127.0.0.1:4001/v1'))).not.toBe(identity(openai('http://127.0.0.1:4002/v1')))
  })
})
