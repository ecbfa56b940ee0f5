import { execFile } from 'node:child_process'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type RequestListener, request, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { tableConsumerStore } from '@tollgate/middleware'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { bundled } from '../support/bundled.ts'
import { newKey, unique } from '../support/consumers.ts'
import { freePort } from '../support/free-port.ts'
import { BARE_HOST, cleanEnv, generate, ROOT, type RunningHost, startHost } from '../support/host.ts'
import { selfSigned } from '../support/self-signed.ts'
import { openAccount } from '../support/tables.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

/* The `tollgate` command by a gateway's URL: it has no storage of its own, and knows nothing but the address and a key. */

const open = openAccount(inject('azurite'))
const store = tableConsumerStore(open)
let folder: string
let policy: string
let upstream: Upstream
let host: RunningHost
let admin: string
let reader: string
const servers: Server[] = []
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tollgate-url-'))
  // Of its own, since a revision is applied to it.
  policy = join(folder, 'policy.yaml')
  copyFileSync(join(ROOT, 'test/contract/manage.yaml'), policy)
  upstream = await startUpstream()
  host = await startHost(
    {
      TOLLGATE_STORAGE: inject('azurite'),
      TOLLGATE_POLICY: policy,
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-upstream',
    },
    BARE_HOST,
  )
  admin = await newKey(open, unique('operator'), 'ample', ['admin', 'read'])
  reader = await newKey(open, unique('grafana'), 'ample', ['read'])
})
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true })
  for (const server of servers) server.close()
  await host?.stop()
  await upstream?.close()
})

interface Run {
  readonly code: number
  readonly out: string
  readonly err: string
}

function run(settings: Record<string, string>, ...args: string[]): Promise<Run> {
  // Storage that can't be reached: whatever looked into it would fail.
  const nowhere = 'DefaultEndpointsProtocol=http;AccountName=a;AccountKey=YWFh;TableEndpoint=http://127.0.0.1:1/a'
  return promisify(execFile)(process.execPath, [bundled(join(ROOT, 'packages/cli/src/tollgate.ts')), ...args], {
    env: cleanEnv({ TOLLGATE_STORAGE: nowhere, TOLLGATE_POLICY: join(folder, 'none.yaml'), ...settings }),
  }).then(
    ({ stdout, stderr }) => ({ code: 0, out: stdout.trim(), err: stderr.trim() }),
    ({ code, stdout, stderr }) => ({ code, out: stdout.trim(), err: stderr.trim() }),
  )
}

const tollgate = (...args: string[]) => run({ TOLLGATE_KEY: admin }, ...args, '--url', `${host.url}/api`)

describe('by its URL', () => {
  test('consumers are listed, shown, moved and shut out', async () => {
    const consumer = unique('far')
    await newKey(open, consumer, 'ample')
    const listed = await tollgate('consumers', 'list', '--json')
    expect([listed.code, listed.err]).toEqual([0, ''])
    expect(JSON.parse(listed.out)).toContainEqual({ id: consumer, plan: 'ample', disabled: false })
    expect((await tollgate('consumers', 'list')).out).toContain(`Storage: what the gateway at ${host.url}/api has`)
    expect((await tollgate('consumers', 'set', consumer, '--plan', 'gold', '--disable')).out).toContain(
      `${consumer}: plan 'gold', disabled.`,
    )
    expect(await store.findConsumer(consumer)).toMatchObject({ plan: 'gold', disabled: true })
    expect((await tollgate('consumers', 'show', consumer)).out).toContain(`${consumer}: plan 'gold', disabled`)
  })

  test('a key is made, used, and removed', async () => {
    const consumer = unique('made')
    const { out } = await tollgate('keys', 'create', '--consumer', consumer, '--plan', 'ample', '--json')
    const { key, id } = JSON.parse(out)
    expect((await generate(host, '{"prompt":"Why?"}', { 'x-api-key': key })).status).toBe(200)
    expect((await tollgate('keys', 'list', '--consumer', consumer)).out).toContain(id)
    expect((await tollgate('keys', 'revoke', key)).out).toContain(`Key ${id} is removed for good.`)
    expect(await store.findKey(id)).toBeUndefined()
    const audit = await tollgate('audit', '--since', '1h', '--limit', '1000', '--json')
    expect(audit.out).toContain(`/keys/${id}`)
    expect(audit.out).not.toContain(key)
  })

  test('cache, limits, targets and audit', async () => {
    const consumer = unique('cleared')
    await newKey(open, consumer, 'gold')
    expect((await tollgate('cache', 'purge', '--consumer', consumer)).out).toBe(
      `Purged: what is stored for consumer '${consumer}' alone. Every instance goes by it within 5 seconds.`,
    )
    expect((await tollgate('limits', 'reset', '--consumer', consumer, '--limit', 'usd')).out).toContain(
      `Reset: Limit 'usd' of consumer '${consumer}'.`,
    )
    expect((await tollgate('limits', 'show', '--consumer', consumer)).out).toContain('usd')
    expect((await tollgate('targets')).out).toMatch(/^MODEL +TARGET +PRIORITY/)
    const { out } = await tollgate('audit', '--since', '1h')
    expect(out).toMatch(/^WHEN +WHO +WHAT +OF +WITH +CAME TO\n/)
    expect(out).toMatch(new RegExp(`key ${admin.split('_')[1]} .* resetLimits +/limits/reset`))
  })

  test('another policy is proposed, refused and applied', async () => {
    const proposed = join(folder, 'proposed.yaml')
    writeFileSync(proposed, readFileSync(policy, 'utf8').replace('requests: 1000', 'requests: 2000'))
    const wrong = join(folder, 'wrong.yaml')
    writeFileSync(wrong, 'plans: 7\n')
    const refused = await tollgate('policy', 'apply', wrong)
    expect([refused.code, refused.out]).toEqual([1, ''])
    expect(refused.err).toContain('plans')
    expect((await tollgate('policy', 'diff', proposed)).out).toContain('2000')
    expect((await tollgate('policy', 'validate', proposed)).out).toContain(
      "can be used, by the app's own settings too.",
    )
    const applied = await tollgate('policy', 'apply', proposed, '--message', 'More of it.')
    expect([applied.code, applied.err]).toEqual([0, ''])
    expect((await tollgate('policy', 'show')).out).toContain('requests: 2000')
    expect((await tollgate('policy', 'history')).out).toContain('More of it.')
  })

  test('usage and why, as a gateway tells them', async () => {
    const consumer = unique('asking')
    const key = await newKey(open, consumer, 'ample')
    const requestId = `${unique('id')}/1`
    await generate(host, '{"prompt":"Why?"}', { 'x-api-key': key, 'x-request-id': requestId })
    const asking = (...args: string[]) => run({ TOLLGATE_KEY: reader, TOLLGATE_URL: `${host.url}/api/` }, ...args)
    const told = async () => (await asking('usage', '--consumer', consumer, '--json')).out
    await expect.poll(told, { timeout: 40_000, interval: 2_000 }).toContain('"requests":1')
    const usage = await asking('usage', '--consumer', consumer)
    expect([usage.code, usage.err]).toEqual([0, ''])
    expect(usage.out).toMatch(new RegExp(`^${consumer} +1 `, 'm'))
    expect(usage.out).toContain(`Gateway: ${host.url}/api`)
    expect((await asking('usage', '--consumer', consumer, '--csv')).out).toMatch(new RegExp(`^"${consumer}",1,`, 'm'))
    const why = await asking('why', requestId)
    expect([why.code, why.err]).toEqual([0, ''])
    expect(why.out).toContain(consumer)
    // The same words as from the tables.
    const here = await run(
      { TOLLGATE_STORAGE: inject('azurite'), TOLLGATE_POLICY: 'test/contract/manage.yaml' },
      'why',
      requestId,
    )
    expect(why.out).toBe(here.out)
    expect((await asking('why', unique('no-such-id'))).err).toContain('No request')
  }, 90_000)

  test.each([
    [['consumers', 'show', 'nobody-here'], "There is no consumer 'nobody-here'."],
    [
      ['consumers', 'set', 'nobody-here', '--plan', 'golt'],
      "--plan: the policy has no plan 'golt'. It has: ample, gold.",
    ],
    [['consumers', 'show', 'a/b'], '<consumer>: 1 to 128 letters'],
    [['consumers', 'show', '..'], '<consumer>: 1 to 128 letters'],
    [['cache', 'purge', '--route', 'chats'], "--route: there is no route 'chats'."],
    [['limits', 'reset', '--plan', 'ample'], "Consumers of plan 'ample' share no limits"],
    [['keys', 'revoke', 'abcdefghijkl'], 'There is no key abcdefghijkl.'],
    [['audit', '--since', 'soon'], '--since must be a span back'],
    [['prices'], "--url: 'prices' asks no gateway."],
  ])('%j is refused with what to correct', async (args, message) => {
    const { code, err, out } = await tollgate(...args)
    expect([code, out]).toEqual([1, ''])
    expect(err).toContain(message)
  })
})

describe('what is wrong is told with the option or the variable that says so', () => {
  const list = (settings: Record<string, string>, url?: string) =>
    run(settings, 'consumers', 'list', ...(url === undefined ? [] : ['--url', url]))

  async function listening(server: Server): Promise<string> {
    servers.push(server)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return String((server.address() as AddressInfo).port)
  }

  test('a key that is missing, wrong, of another scope or no key at all', async () => {
    const url = `${host.url}/api`
    expect((await list({}, url)).err).toMatch(/^TOLLGATE_KEY is not set: --url needs a key of scope admin/)
    expect((await list({ TOLLGATE_URL: url })).err).toContain('TOLLGATE_KEY is not set: TOLLGATE_URL needs')
    expect((await list({ TOLLGATE_KEY: 'nonsense' }, url)).err).toBe('TOLLGATE_KEY: Invalid API key.')
    expect((await list({ TOLLGATE_KEY: 'two words' }, url)).err).toContain('TOLLGATE_KEY: no key')
    const caller = await newKey(open, unique('app'), 'ample')
    const { code, err } = await list({ TOLLGATE_KEY: caller }, url)
    expect([code, err]).toEqual([1, expect.stringMatching(/^TOLLGATE_KEY: This API key may/)])
    const changing = await run({ TOLLGATE_KEY: reader }, 'cache', 'purge', '--plan', 'gold', '--url', url)
    expect(changing.err).toMatch(/^TOLLGATE_KEY: This API key may change nothing/)
  })

  test.each([
    ['example', '--url: no URL such as'],
    ['ftp://example.com/api', '--url: no URL such as'],
    ['http://example.com/api', '--url: the key would go to example.com in clear. Use https://.'],
    ['https://user:secret@example.com/api', '--url: an address alone'],
    ['https://example.com/api?code=secret', '--url: an address alone'],
  ])('%s', async (url, message) => {
    const { code, err, out } = await list({ TOLLGATE_KEY: admin }, url)
    expect([code, out]).toEqual([1, ''])
    expect(err).toContain(message)
    expect(err).not.toContain('secret')
    expect(err).not.toContain(admin)
  })

  test('an address that nothing listens at', async () => {
    const port = await freePort()
    const { code, err } = await list({ TOLLGATE_KEY: admin }, `http://127.0.0.1:${port}/api`)
    expect([code, err]).toEqual([1, `--url: http://127.0.0.1:${port}/api could not be asked: ECONNREFUSED.`])
  })

  test('an address that is no gateway’s', async () => {
    const page = await listening(createServer((_request, response) => response.end('<html>')))
    const { err } = await list({ TOLLGATE_KEY: admin }, `http://127.0.0.1:${page}`)
    expect(err).toMatch(/^--url: what answers at .* answers no JSON/)
    expect((await list({ TOLLGATE_KEY: admin }, host.url)).err).toMatch(
      /^--url: what answers at .* is no gateway, or an old one \(HTTP 404\)/,
    )
  })

  test('a redirect gets no key', async () => {
    const seen: unknown[] = []
    const other = await listening(
      createServer(({ headers }, response) => {
        seen.push(headers.authorization)
        response.end('{}')
      }),
    )
    const redirecting = await listening(
      createServer((_request, response) =>
        response.writeHead(307, { location: `http://127.0.0.1:${other}/api/manage/consumers` }).end(),
      ),
    )
    const { code, err } = await list({ TOLLGATE_KEY: admin }, `http://127.0.0.1:${redirecting}/api`)
    expect([code, err]).toEqual([
      1,
      expect.stringContaining(`redirects to http://127.0.0.1:${other}, which is not followed`),
    ])
    expect(seen).toEqual([])
  })

  test('TLS, to a server that is trusted and to one that is not', async () => {
    const identity = selfSigned('localhost')
    const authority = join(folder, 'authority.pem')
    writeFileSync(authority, identity.cert)
    const { port: hostPort } = new URL(host.url)
    const forward: RequestListener = (incoming, response) => {
      const { method, url: path, headers } = incoming
      const onward = request({ port: hostPort, host: '127.0.0.1', method, path, headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 500, answer.headers)
        answer.pipe(response)
      })
      incoming.pipe(onward)
    }
    const port = await listening(createTlsServer(identity, forward))
    const url = `https://localhost:${port}/api`
    const untrusted = await list({ TOLLGATE_KEY: admin }, url)
    expect([untrusted.code, untrusted.err]).toEqual([1, expect.stringContaining('its certificate is not trusted (')])
    const trusted = await list({ TOLLGATE_KEY: admin, NODE_EXTRA_CA_CERTS: authority }, url)
    expect([trusted.code, trusted.err]).toEqual([0, ''])
    expect(trusted.out).toContain(`Storage: what the gateway at ${url} has`)
    const other = await list({ TOLLGATE_KEY: admin, NODE_EXTRA_CA_CERTS: authority }, `https://127.0.0.1:${port}/api`)
    expect(other.err).toContain('its certificate is not trusted (ERR_TLS_CERT_ALTNAME_INVALID)')
  })
})
