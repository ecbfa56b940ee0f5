import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { BARE_HOST, generate, type RunningHost, startHost } from '../support/host.ts'

/* A machine behind a company's proxy, which the environment names: a proxy that answers nobody, and notes who asks. */

const NAMES = ['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY']
const servers: Server[] = []
let asked: string[]
let proxy: string
let host: RunningHost | undefined
beforeEach(async () => {
  asked = []
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`)
    response.writeHead(502).end()
  })
  server.on('connect', (request, socket) => {
    asked.push(`CONNECT ${request.url}`)
    socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n')
  })
  proxy = await listen(server)
})
afterEach(async () => {
  await host?.stop()
  host = undefined
  for (const server of servers.splice(0)) server.close().closeAllConnections()
})

async function listen(server: Server): Promise<string> {
  servers.push(server)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const by = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, proxy]))

describe('A4: behind a proxy', () => {
  test.each([[NAMES], [NAMES.map((name) => name.toLowerCase())]])(
    'npm start with %j asks it nothing',
    async (names) => {
      const data = mkdtempSync(join(tmpdir(), 'tollgate-proxy-'))
      try {
        host = await startHost({ TOLLGATE_LOCAL_DATA: data, TOLLGATE_CACHE_DEADLINE_MS: '5000', ...by(names) })
        const key = /X-API-KEY: (tg_\w+)/.exec(host.output())?.[1] ?? ''
        const ask = () => generate(host as RunningHost, '{"prompt":"Why?"}', { 'x-api-key': key })
        expect((await ask()).headers.get('cache-status')).toContain('stored')
        expect((await ask()).headers.get('cache-status')).toContain('hit')
        expect(asked).toEqual([])
      } finally {
        await host?.stop()
        rmSync(data, { recursive: true, force: true })
      }
    },
  )

  test('storage elsewhere is asked by it, with an identity that is not', async () => {
    const given: (string | undefined)[] = []
    const identity = await listen(
      createServer(({ headers }, response) => {
        given.push(headers['x-identity-header'] as string)
        const expires_on = Math.floor(Date.now() / 1_000) + 3_600
        response.setHeader('content-type', 'application/json')
        response.end(JSON.stringify({ access_token: 't', token_type: 'Bearer', expires_on, resource: 'r' }))
      }),
    )
    await ready({ IDENTITY_ENDPOINT: `${identity}/msi/token`, IDENTITY_HEADER: 'secret', ...by(NAMES) })
    expect(given).toContain('secret')
    expect(new Set(asked)).toEqual(new Set(['CONNECT account.table.core.windows.net:443']))
  })

  test('storage that NO_PROXY names is asked without it', async () => {
    const key = Buffer.from('key').toString('base64')
    const account = `DefaultEndpointsProtocol=https;AccountName=account;AccountKey=${key};EndpointSuffix=core.windows.net`
    await ready({ TOLLGATE_STORAGE: account, NO_PROXY: 'other.example,.core.windows.net', ...by(NAMES) })
    expect(asked).toEqual([])
    await host?.stop()
    await ready({ TOLLGATE_STORAGE: account, NO_PROXY: 'other.example', ...by(NAMES) })
    expect(new Set(asked)).toEqual(new Set(['CONNECT account.table.core.windows.net:443']))
  })

  test('a proxy that is no URL is told by its name, and without its value', async () => {
    await ready({ HTTP_PROXY: '10.0.0.1:8080' })
    expect(host?.output()).toContain('HTTP_PROXY is not a URL. Write it with its scheme')
    expect(host?.output()).not.toContain('10.0.0.1')
  })
})

/** Starts the app on storage that is not here, and has it look whether it is. */
async function ready(settings: Record<string, string>): Promise<void> {
  host = await startHost(
    { TOLLGATE_STORAGE: 'https://account.table.core.windows.net', OPENAI_BASE_URL: 'http://127.0.0.1:9', ...settings },
    BARE_HOST,
  )
  expect((await fetch(`${host.url}/api/health?ready`)).status).toBe(503)
}
