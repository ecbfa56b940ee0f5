import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { crc32 } from 'node:zlib'
import { tableConsumerStore } from '@tollgate/middleware'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, type RunningHost, rawStatus, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

/* What operators see and change, by HTTP: the bundle on the local host, over real tables. */

const open = openAccount(inject('azurite'))
const store = tableConsumerStore(open)
let upstream: Upstream
let host: RunningHost
let caller: string
let reader: string
let admin: string
const operator = unique('operator')
beforeAll(async () => {
  upstream = await startUpstream()
  host = await startHost(
    {
      TOLLGATE_STORAGE: inject('azurite'),
      TOLLGATE_POLICY: 'test/contract/manage.yaml',
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-upstream-secret',
      OPENAI_MODEL_NAME: 'test-model',
    },
    BARE_HOST,
  )
  caller = await newKey(open, unique('app'), 'ample')
  reader = await newKey(open, unique('grafana'), 'ample', ['read'])
  admin = await newKey(open, operator, 'ample', ['admin'])
})
afterAll(async () => {
  await host?.stop()
  await upstream?.close()
})

interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: Record<string, unknown>
}

async function manage(path: string, init: RequestInit & { key?: string; json?: unknown } = {}): Promise<Answer> {
  const { key = admin, json, ...rest } = init
  const headers = new Headers(rest.headers)
  if (key !== '') headers.set('x-api-key', key)
  if (json !== undefined) headers.set('content-type', 'application/json')
  const body = json === undefined ? (rest.body ?? null) : JSON.stringify(json)
  const response = await fetch(`${host.url}/api/manage${path}`, { ...rest, headers, body, redirect: 'manual' })
  const text = await response.text()
  return { status: response.status, headers: response.headers, body: text === '' ? {} : JSON.parse(text) }
}

describe('who may', () => {
  test.each([
    ['no key', () => '', 401, 401],
    ['a key that calls models', () => caller, 403, 403],
    ['a key that reads', () => reader, 200, 403],
    ['a key that manages', () => admin, 200, 200],
    ['a wrong secret for an id that there is', () => wrongSecret(admin), 401, 401],
    ['what is no key', () => 'nonsense', 401, 401],
  ])('%s', async (_who, key, get, patch) => {
    const consumer = unique('matrix')
    await newKey(open, consumer, 'ample')
    const looked = await manage(`/consumers/${consumer}`, { key: key() })
    expect(looked.status).toBe(get)
    const changed = await manage(`/consumers/${consumer}`, { key: key(), method: 'PATCH', json: { plan: 'gold' } })
    expect(changed.status).toBe(patch)
    expect((await store.findConsumer(consumer))?.plan).toBe(patch === 200 ? 'gold' : 'ample')
    for (const { headers, status, body } of [looked, changed]) {
      expect(headers.get('cache-control')).toBe('no-store')
      expect(headers.get('x-content-type-options')).toBe('nosniff')
      if (status >= 400) expect(body).toEqual({ error: expect.any(String), code: expect.any(String) })
    }
  })

  test('neither a disabled key, nor one that has expired, nor a disabled consumer’s', async () => {
    const [one, two, three] = await Promise.all(
      ['a', 'b', 'c'].map(async (name) => {
        const consumer = unique(name)
        return { consumer, key: await newKey(open, consumer, 'ample', ['admin']) }
      }),
    )
    if (!one || !two || !three) throw new Error('three keys')
    await store.updateKey(one.key.split('_')[1] ?? '', { disabled: true })
    await store.updateKey(two.key.split('_')[1] ?? '', { expiresAt: Date.now() - 1 })
    await store.updateConsumer(three.consumer, { disabled: true })
    for (const { key } of [one, two, three]) expect((await manage('/consumers', { key })).status).toBe(401)
  })

  test('no function key opens it, and it answers no browser of another origin', async () => {
    const response = await fetch(`${host.url}/api/manage/consumers?code=host-master-key`, {
      headers: { 'x-functions-key': 'host-master-key' },
    })
    expect(response.status).toBe(401)
    const preflight = await manage('/consumers', {
      method: 'OPTIONS',
      headers: { origin: 'https://evil.example', 'access-control-request-method': 'PATCH' },
    })
    expect([preflight.status, preflight.headers.get('allow')]).toEqual([405, 'GET'])
    for (const { headers } of [
      preflight,
      await manage('/consumers', { headers: { origin: 'https://evil.example' } }),
    ]) {
      expect([...headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([])
    }
  })
})

describe('what is asked', () => {
  test.each([
    ['GET', '/', undefined, 404, 'not_found', undefined],
    ['GET', '', undefined, 404, 'not_found', undefined],
    ['GET', '/nothing', undefined, 404, 'not_found', undefined],
    ['DELETE', '/consumers', undefined, 405, 'method_not_allowed', undefined],
    ['GET', '/consumers?limt=3', undefined, 400, 'invalid_request', 'limt'],
    ['GET', '/consumers?limit=3&limit=4', undefined, 400, 'invalid_request', 'limit'],
    ['GET', '/consumers?limit=0', undefined, 400, 'invalid_request', 'limit'],
    ['GET', '/consumers?limit=1e3', undefined, 400, 'invalid_request', 'limit'],
    ['GET', '/consumers?limit=99999999999999999999', undefined, 400, 'invalid_request', 'limit'],
    ['GET', '/consumers?cursor=%00', undefined, 400, 'invalid_request', 'cursor'],
    ['GET', '/audit?cursor=00000', undefined, 400, 'invalid_request', 'cursor'],
    ['GET', '/audit?since=soon', undefined, 400, 'invalid_request', 'since'],
    ['POST', '/cache/purge', {}, 400, 'invalid_request', undefined],
    ['POST', '/cache/purge', { all: true, plan: 'gold' }, 400, 'invalid_request', undefined],
    ['POST', '/cache/purge', { all: false }, 400, 'invalid_request', 'all'],
    ['POST', '/cache/purge', { plan: 'golt' }, 422, 'invalid_request', 'plan'],
    ['POST', '/cache/purge?all=true', {}, 400, 'invalid_request', 'all'],
    ['POST', '/cache/purge', { kind: 'refusal', status: 200 }, 400, 'invalid_request', 'kind'],
    ['POST', '/cache/purge', [], 400, 'invalid_request', undefined],
    ['POST', '/cache/purge', { route: 'toString' }, 422, 'invalid_request', 'route'],
    ['POST', '/limits/reset', { global: true }, 422, 'invalid_request', undefined],
    ['POST', '/limits/reset', { plan: 'gold', limit: 'x' }, 422, 'invalid_request', 'limit'],
    ['PATCH', '/consumers/nobody-here', { disabled: true }, 404, 'not_found', undefined],
    ['PATCH', '/consumers/nobody-here', {}, 400, 'invalid_request', undefined],
    ['PATCH', '/consumers/nobody-here', { consumer: 'else', disabled: true }, 400, 'invalid_request', 'consumer'],
    ['PATCH', '/consumers/nobody-here', { disabled: 'yes' }, 400, 'invalid_request', 'disabled'],
    ['GET', '/consumers/nobody-here', undefined, 404, 'not_found', undefined],
  ] as const)('%s %s %j is refused with %i', async (method, path, json, status, code, param) => {
    const { body, ...answer } = await manage(path, { method, json })
    expect([answer.status, body]).toEqual([
      status,
      { error: expect.stringMatching(/\w/), code, ...(param !== undefined && { param }) },
    ])
    if (status === 405) expect(answer.headers.get('allow')).toBe('GET')
  })

  test('a misspelt field is answered with what was meant', async () => {
    const { body } = await manage('/consumers/nobody-here', { method: 'PATCH', json: { pln: 'gold' } })
    expect(body.error).toBe("'pln' is no field here. Did you mean 'plan'?")
  })

  test.each([
    ['no JSON', '{"plan":', 'application/json', 400, 'invalid_json'],
    ['no UTF-8', Buffer.from([0x7b, 0xff, 0x7d]), 'application/json', 400, 'invalid_json'],
    ['no content type', '{"all":true}', '', 415, 'unsupported_media_type'],
    ['a form', 'all=true', 'application/x-www-form-urlencoded', 415, 'unsupported_media_type'],
    ['text, as a page of another origin may send it', '{"all":true}', 'text/plain', 415, 'unsupported_media_type'],
    ['another charset', '{"all":true}', 'application/json; charset=utf-16', 415, 'unsupported_media_type'],
    ['a name twice', '{"plan":"gold","plan":"ample"}', 'application/json', 400, 'invalid_request'],
    ['nested deep', `{"plan":${'['.repeat(5_000)}${']'.repeat(5_000)}}`, 'application/json', 400, 'invalid_request'],
    ['a prototype', '{"__proto__":{"all":true}}', 'application/json', 400, 'invalid_request'],
    ['too long', `{"plan":"${'x'.repeat(1_300_000)}"}`, 'application/json', 413, 'request_too_large'],
  ])('a body with %s is refused', async (_what, body, type, status, code) => {
    const answer = await manage('/cache/purge', {
      method: 'POST',
      body: typeof body === 'string' ? Buffer.from(body) : body,
      headers: type === '' ? {} : { 'content-type': type },
    })
    expect([answer.status, answer.body.code]).toEqual([status, code])
  })

  test('a path is no way to another row', async () => {
    const [one, two] = [unique('one'), unique('two')]
    await newKey(open, one, 'ample')
    await newKey(open, two, 'ample')
    const tricks = [
      `/consumers/${one}/../${two}`,
      `/consumers/..%2f${two}`,
      `/consumers/${one}%2f..%2f${two}`,
      `/consumers/${one}%252f..%252f${two}`,
      `/consumers/${one}%00`,
      `/consumers/%00${one}`,
      `/consumers/${one}%20`,
      `/consumers/%zz`,
      `/consumers/${encodeURIComponent(`${one}' or PartitionKey ne '`)}`,
      `/consumers//${one}`,
      `/consumers/${one};a=b`,
      `/consumers/%c0%ae%c0%ae`,
      `/consumers/${'x'.repeat(4_000)}`,
      `/consumers/${encodeURIComponent('é')}`,
    ]
    for (const path of tricks) {
      for (const method of ['GET', 'PATCH']) {
        const status = await rawStatus(
          host,
          {
            method,
            path: `/api/manage${path}`,
            headers: { 'x-api-key': admin, 'content-type': 'application/json' },
          },
          method === 'GET' ? [] : ['{"disabled":true}'],
        )
        // The first is a path that a URL doesn't have: what reads URLs resolves it.
        const isResolved = path.includes('/../')
        expect([path, method, isResolved ? [200, 404] : [400, 404]]).toEqual([
          path,
          method,
          expect.arrayContaining([status]),
        ])
      }
    }
    expect((await store.findConsumer(one))?.disabled).toBe(false)
    const other = await store.findConsumer(two)
    expect(other?.disabled).toBe(true)
  })
})

describe('what is done', () => {
  test('consumers, a page at a time', async () => {
    const prefix = unique('page')
    const ids = Array.from({ length: 5 }, (_, at) => `${prefix}-${at}`)
    for (const id of ids) await store.addConsumer({ id, plan: 'ample', disabled: false })
    const seen: string[] = []
    let cursor: string | undefined = prefix
    for (let pages = 0; pages < 4 && cursor !== undefined; pages += 1) {
      const { status, body } = await manage(`/consumers?limit=2&cursor=${cursor}`)
      expect(status).toBe(200)
      seen.push(...(body.consumers as { id: string }[]).map(({ id }) => id))
      cursor = body.next as string | undefined
    }
    expect(seen.filter((id) => id.startsWith(prefix))).toEqual(ids)
  })

  test('a consumer is shown, moved and shut out, and its last state is told', async () => {
    const consumer = unique('moved')
    await newKey(open, consumer, 'ample')
    const asIs = { id: consumer, plan: 'ample', disabled: false, planMissing: false }
    expect((await manage(`/consumers/${consumer}`)).body).toEqual(asIs)
    const changed = await manage(`/consumers/${consumer}`, { method: 'PATCH', json: { plan: 'gold', disabled: true } })
    expect([changed.status, changed.body]).toEqual([200, { ...asIs, plan: 'gold', disabled: true }])
    expect(await store.findConsumer(consumer)).toMatchObject({ plan: 'gold', disabled: true })
  })

  test('caches, limits and the ledger', async () => {
    const consumer = unique('cleared')
    await newKey(open, consumer, 'gold')
    const purged = await manage('/cache/purge', { method: 'POST', json: { consumer } })
    expect(purged.body).toEqual({ purged: `consumer:${consumer}`, known: true })
    const reset = await manage('/limits/reset', { method: 'POST', json: { consumer, limit: 'usd' } })
    expect(reset.body).toMatchObject({ subject: `consumer:${consumer}`, limits: ['usd'] })
    const forgot = await manage(`/consumers/${consumer}/forget`, { method: 'POST' })
    expect(forgot.body).toMatchObject({ requests: 0, changed: 0 })
  })

  test('targets, with their prices', async () => {
    const { status, body } = await manage('/targets', { key: reader })
    expect([status, body]).toEqual([
      200,
      {
        targets: [
          {
            model: 'default',
            target: expect.stringMatching(/^openai:/),
            priority: 1,
            weight: 1,
            price: { usdPerMillionTokens: { input: 1, cachedInput: 1, output: 2 } },
          },
        ],
        resting: expect.any(Array),
      },
    ])
    expect(JSON.stringify(body)).not.toContain('secret')
  })

  test('each change is written down, with who made it, and what came of it', async () => {
    const consumer = unique('audited')
    await newKey(open, consumer, 'ample')
    const headers = { 'x-request-id': unique('request') }
    const subject = `/consumers/${consumer}`
    await manage(subject, { method: 'PATCH', json: { plan: 'gold' }, headers })
    await manage(subject, { method: 'PATCH', json: { plan: caller }, headers })
    const { body } = await manage('/audit?since=1h&limit=1000')
    const changes = (body.changes as Record<string, unknown>[]).filter((each) => each.subject === subject)
    const shared = {
      change: expect.stringMatching(/^\d{13}-[0-9a-f]{12}$/),
      at: expect.stringMatching(/^\d{4}-.*Z$/),
      actor: `key ${admin.split('_')[1]} (${operator})`,
      action: 'setConsumer',
      subject,
      requestId: headers['x-request-id'],
      network: '127.0.0.1',
    }
    // The second was refused by its schema (a key is longer than a plan's name), and so never tried.
    expect(changes).toEqual([{ ...shared, input: { consumer, plan: 'gold' }, outcome: 'done' }])
    expect(JSON.stringify(body)).not.toContain(caller)
    const lines = host
      .output()
      .split('\n')
      .filter((line) => line.includes(headers['x-request-id']))
    expect(lines.join('\n')).toContain('"event":"manage"')
    expect(lines.join('\n')).toContain('"event":"managed"')
    expect(lines.join('\n')).not.toContain(caller)
  })

  test('what was written down is read a page at a time, the newest first', async () => {
    const consumer = unique('pages')
    await newKey(open, consumer, 'ample')
    for (const disabled of [true, false, true]) {
      await manage(`/consumers/${consumer}`, { method: 'PATCH', json: { disabled } })
    }
    const seen: unknown[] = []
    let cursor = ''
    for (let pages = 0; pages < 50 && seen.length < 3; pages += 1) {
      const { body } = await manage(`/audit?limit=2${cursor}`)
      const changes = body.changes as { subject: string; input: { disabled?: boolean } }[]
      seen.push(...changes.filter(({ subject }) => subject.endsWith(consumer)).map(({ input }) => input.disabled))
      if (body.next === undefined) break
      cursor = `&cursor=${body.next}`
    }
    expect(seen).toEqual([true, false, true])
  })
})

test('a client that leaves in the middle of its body hangs nothing', async () => {
  const { port } = new URL(host.url)
  const socket = connect(Number(port), '127.0.0.1')
  await once(socket, 'connect')
  socket.write(
    `POST /api/manage/cache/purge HTTP/1.1\r\nhost: localhost\r\nx-api-key: ${admin}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"all"`,
  )
  await new Promise((resolve) => setTimeout(resolve, 100))
  socket.destroy()
  expect((await manage('/consumers?limit=1')).status).toBe(200)
})

// The last one: after it, this network may try nothing more.
test('a flood of tries is refused, and shuts out nobody who may, known here or not', async () => {
  expect((await manage('/consumers?limit=1')).status).toBe(200)
  const tries = await Promise.all(Array.from({ length: 150 }, () => manage('/consumers', { key: wrongSecret(admin) })))
  const refused = tries.filter(({ status }) => status === 429)
  expect(refused.length).toBeGreaterThan(60)
  expect(tries.filter(({ status }) => status === 401)).toHaveLength(150 - refused.length)
  for (const { headers } of refused) expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
  expect((await manage('/consumers?limit=1')).status).toBe(200)
  const unseen = await newKey(open, unique('operator'), 'ample', ['admin'])
  expect((await manage('/consumers?limit=1', { key: unseen })).status).toBe(200)
  expect(
    (await manage(`/consumers/${operator}`, { key: unseen, method: 'PATCH', json: { plan: 'ample' } })).status,
  ).toBe(200)
})

/** With the id of a key that there is. */
function wrongSecret(key: string): string {
  const [, id = ''] = key.split('_')
  return withChecksum(`tg_${id}_${createHash('sha256').update(key).digest('hex').slice(0, 43)}`)
}

/** A key's checksum, as auth/key.ts makes it, of zlib's own CRC-32. */
function withChecksum(body: string): string {
  const letters = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
  let digits = ''
  for (let rest = crc32(body); digits.length < 6; rest = Math.floor(rest / 62))
    digits = letters.charAt(rest % 62) + digits
  return body + digits
}
