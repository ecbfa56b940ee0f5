import { type HttpClient, type PipelineRequest, RestError } from '@azure/core-rest-pipeline'
import { AzureNamedKeyCredential, generateAccountSas, TableClient } from '@azure/data-tables'
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest'
import { unique } from '../../../../test/support/consumers.ts'
import { type StorageProxy, startStorageProxy } from '../../../../test/support/storage-proxy.ts'
import { openAccount, tableAccounts, tableClient } from '../../../../test/support/tables.ts'
import * as sdk from './sdk.ts'
import { type Table, tableOver } from './table.ts'
import { connectTable } from './table-connection.ts'
import { openTables, type TableName } from './tables.ts'

const signal = new AbortController().signal
const keyOf = (rowKey = unique('row')) => ({ partitionKey: 'p', rowKey })
const newName = () => `tables${unique('x').replaceAll('-', '')}` as TableName

for (const { name, connection, open } of tableAccounts()) {
  describe(`a table of ${name}`, () => {
    const tableName = newName()
    const table: Table = open(tableName)
    const client = tableClient(connection, tableName)
    afterAll(() => client.deleteTable())

    const fields = {
      text: 'ü "quoted" \u2028 \0 \\',
      empty: '',
      whole: -7,
      half: 0.5,
      tiny: 5e-324,
      large: 9_007_199_254_740_993n,
      least: -(2n ** 63n),
      yes: true,
      no: false,
      time: new Date('2026-11-27T12:34:56.789Z'),
      before1970: new Date('1901-02-03T04:05:06.007Z'),
      bytes: Buffer.from([0, 255, 254, 10]),
      none: Buffer.alloc(0),
    }

    test('is made when a row is first written, and is empty before', async () => {
      expect((await table.read(keyOf())).entity).toBeUndefined()
      expect(await Array.fromAsync(table.list({}))).toEqual([])
      expect(await table.merge(keyOf())).toBe(false)
      expect(await table.remove(keyOf(), 'any')).toBe(false)
      expect((await table.put({ ...keyOf(), a: 1 }, { etag: 'W/"x"' })).etag).toBeUndefined()
      expect((await table.put({ ...keyOf(), a: 1 }, 'absent')).etag).toMatch(/^W\//)
    })

    test('gives back each type as the SDK does, and writes it so', async () => {
      const ours = keyOf()
      const { etag } = await table.put({ ...ours, ...fields, absent: undefined }, 'absent')
      const { timestamp, ...seen } = await client.getEntity(ours.partitionKey, ours.rowKey)
      expect(seen).toMatchObject({ ...ours, ...fields, etag })
      expect(seen).not.toHaveProperty('absent')
      const { entity } = await table.read<typeof fields & { timestamp: string }>(ours)
      expect(entity).toMatchObject({ ...seen, timestamp })

      const theirs = keyOf()
      await client.createEntity({ ...theirs, ...fields })
      expect((await table.read(theirs)).entity).toMatchObject({ ...theirs, ...fields })
    })

    test('writes the bytes that a view shows, and no more', async () => {
      const key = keyOf()
      await table.put({ ...key, bytes: new Uint8Array([1, 2, 3, 4]).subarray(1, 3) }, 'absent')
      expect((await table.read<{ bytes: Uint8Array }>(key)).entity?.bytes).toEqual(Buffer.from([2, 3]))
    })

    test.each(["a'b", "''", 'a b', 'ü%é', '(x)!~*,;:@&=+$', '%27', '..', 'a"b', '\u{1f512}'])(
      'finds, changes and removes the row %s',
      async (rowKey) => {
        const key = { partitionKey: `${unique('p')}${rowKey}`, rowKey }
        await table.put({ ...key, a: 1, b: 2 }, 'absent')
        expect(await table.merge({ ...key, b: 3 })).toBe(true)
        expect(await client.getEntity(key.partitionKey, rowKey)).toMatchObject({ ...key, a: 1, b: 3 })
        expect((await table.read(key)).entity).toMatchObject({ ...key, a: 1, b: 3 })
        expect(await table.remove(key, 'any')).toBe(true)
        expect((await table.read(key)).entity).toBeUndefined()
      },
    )

    test('writes only where the condition holds', async () => {
      const key = keyOf()
      const { etag: first = '' } = await table.put({ ...key, a: 1 }, 'absent')
      expect((await table.put({ ...key, a: 2 }, 'absent')).etag).toBeUndefined()
      const { etag: second = '' } = await table.put({ ...key, a: 3 }, { etag: first })
      expect(second).not.toBe(first)
      expect((await table.put({ ...key, a: 4 }, { etag: first })).etag).toBeUndefined()
      expect(await table.remove(key, { etag: first })).toBe(false)
      expect((await table.read(key)).entity).toMatchObject({ a: 3, etag: second })
      await table.put({ ...key, b: 1 }, 'any')
      expect((await table.read(key)).entity).not.toHaveProperty('a')
    })

    test('names the service’s time in each answer, a refusal’s too', async () => {
      const before = Date.now() - 5 * 60_000
      const key = keyOf()
      const dates = [
        (await table.read(key)).date,
        (await table.put(key, 'absent')).date,
        (await table.put(key, 'absent')).date,
        (await table.put(key, { etag: 'W/"x"' })).date,
        (await table.read(key)).date,
      ]
      for (const date of dates) expect(date).toBeGreaterThan(before)
    })

    test('gives the fields that are wanted alone', async () => {
      const key = keyOf()
      const { etag } = await table.put({ ...key, a: 1, b: 2, c: 3 }, 'absent')
      const { entity } = await table.read(key, { select: ['a', 'c'] })
      expect(entity).toMatchObject({ a: 1, c: 3, etag })
      expect(entity).not.toHaveProperty('b')
    })
  })
}

describe('what a table needs of its account', () => {
  test('a key that is wrong is refused, and the refusal says so by its code', async () => {
    const wrong = inject('azurite').replace(/AccountKey=[^;]+/, `AccountKey=${Buffer.alloc(64).toString('base64')}`)
    const table = openAccount(wrong)('tollgatecounters')
    for (let i = 0; i < 2; i += 1) {
      await expect(table.read(keyOf())).rejects.toMatchObject({
        name: 'RestError',
        statusCode: 403,
        code: expect.stringMatching(/^Authori[sz]ationFailure$|^AuthenticationFailed$/),
      })
    }
  })

  test('a signature for access (SAS) is enough', async () => {
    const part = (name: string) => new RegExp(`${name}=([^;]+)`).exec(inject('azurite'))?.[1] ?? ''
    const credential = new AzureNamedKeyCredential(part('AccountName'), part('AccountKey'))
    const signature = generateAccountSas(credential, {
      permissions: { query: true, add: true, update: true, delete: true, write: true, list: true },
      resourceTypes: 'sco',
      expiresOn: new Date(Date.now() + 3_600_000),
    })
    const shared = `TableEndpoint=${part('TableEndpoint')};SharedAccessSignature=${signature}`
    const table = openTables({ kind: 'connection-string', connectionString: shared, loopback: true })(
      'tollgatecounters',
    )
    const key = keyOf("it's")
    await table.put({ ...key, a: 1 }, 'any')
    expect((await table.read(key, { select: ['a'] })).entity).toMatchObject({ a: 1 })
    expect(await table.remove(key, 'any')).toBe(true)
  })

  /** A table by a token, and what was sent to it. */
  function byToken(endpoint: string, answers: readonly { status: number; challenge?: string }[]) {
    const tokens: unknown[] = []
    const sent: { url: string; authorization: string | undefined }[] = []
    const credential = {
      async getToken(scopes: unknown, options: { claims?: string } = {}) {
        tokens.push([scopes, options.claims])
        return { token: `token ${tokens.length}`, expiresOnTimestamp: Date.now() + 3_600_000 }
      },
    }
    const httpClient: HttpClient = {
      async sendRequest(request: PipelineRequest) {
        const { status = 404, challenge } = answers[sent.length] ?? {}
        sent.push({ url: request.url, authorization: request.headers.get('authorization') })
        const headers = sdk.createHttpHeaders(challenge === undefined ? {} : { 'www-authenticate': challenge })
        return { request, status, headers, bodyAsText: '{}' }
      },
    }
    const client = new TableClient(endpoint, 'some', credential)
    return { table: tableOver(async () => connectTable(client, { sdk, httpClient, insecure: false })), tokens, sent }
  }

  test.each([
    ['https://a.table.core.windows.net', 'https://storage.azure.com/.default'],
    ['https://a.table.core.chinacloudapi.cn/', 'https://storage.azure.com/.default'],
    ['https://a.table.cosmos.azure.com', 'https://cosmos.azure.com/.default'],
  ])('a token is asked for once, and sent to %s', async (endpoint, scope) => {
    const { table, tokens, sent } = byToken(endpoint, [])
    for (let i = 0; i < 3; i += 1) await table.read({ partitionKey: 'p', rowKey: 'r' })
    expect(tokens).toEqual([[[scope], undefined]])
    const url = `${endpoint.replace(/\/$/, '')}/some(PartitionKey='p',RowKey='r')`
    expect(sent).toEqual(Array(3).fill({ url, authorization: 'Bearer token 1' }))
  })

  test('a token that was revoked is replaced by one with the claims that are asked for', async () => {
    const claims = JSON.stringify({ access_token: { nbf: { essential: true, value: '1' } } })
    const challenge = `Bearer authorization_uri="https://login", error="insufficient_claims", claims="${btoa(claims)}"`
    const { table, tokens, sent } = byToken('https://a.table.core.windows.net', [{ status: 401, challenge }])
    expect((await table.read(keyOf())).entity).toBeUndefined()
    expect(tokens).toEqual([
      [['https://storage.azure.com/.default'], undefined],
      [['https://storage.azure.com/.default'], claims],
    ])
    expect(sent.map(({ authorization }) => authorization)).toEqual(['Bearer token 1', 'Bearer token 2'])
  })

  test('a token never goes over plain http', async () => {
    const { table, sent } = byToken('http://a.table.core.windows.net', [])
    await expect(table.read(keyOf())).rejects.toThrow('not permitted')
    expect(sent).toEqual([])
  })
})

describe('a service that fails', () => {
  let proxy: StorageProxy
  let table: Table
  beforeAll(async () => {
    proxy = await startStorageProxy(inject('azurite'))
    table = openAccount(proxy.connectionString)('tollgatecounters')
    await table.put({ ...keyOf(), text: 'x' }, 'any')
  })
  afterAll(() => proxy?.close())

  test.each([
    ['an answer of 503', { kind: 'answer', status: 503, code: 'ServerBusy' }, { statusCode: 503, code: 'ServerBusy' }],
    ['a lost request', { kind: 'lost request' }, { code: 'ECONNRESET' }],
    ['a lost reply', { kind: 'lost reply' }, { code: 'ECONNRESET' }],
  ] as const)('%s: a read is sent twice, a write once', async (_what, fault, error) => {
    const key = keyOf()
    await table.put({ ...key, text: 'x' }, 'any')
    proxy.inject(fault)
    proxy.forget()
    const writes = [
      () => table.put(key, 'absent'),
      () => table.put(key, 'any'),
      () => table.put(key, { etag: 'W/"x"' }),
      () => table.merge({ ...key, text: 'y' }),
      () => table.remove(key, 'any'),
    ]
    for (const write of writes) await expect(write()).rejects.toMatchObject({ name: 'RestError', ...error })
    expect(proxy.transactions().map(({ operation }) => operation)).toEqual([
      'insert',
      'replace',
      'update',
      'merge',
      'delete',
    ])
    proxy.forget()
    await expect(table.read(key)).rejects.toMatchObject({ name: 'RestError', ...error })
    expect(proxy.transactions()).toHaveLength(2)
    proxy.heal()
  })

  test.each([
    ['absent', 'insert', [409]],
    [{ etag: 'W/"x"' }, 'update', [404, 412]],
    ['any', 'replace', []],
  ] as const)(
    'of an answer to a write if %o only what says so means that it was not written',
    async (condition, operation, saying) => {
      for (const status of [404, 409, 412]) {
        proxy.inject({ kind: 'answer', status, code: 'Any' }, { operation, times: 1 })
        const written = table.put({ ...keyOf(), text: 'x' }, condition)
        if (saying.some((one) => one === status)) expect((await written).etag).toBeUndefined()
        else await expect(written).rejects.toMatchObject({ statusCode: status, code: 'Any' })
      }
    },
  )

  test('a read that is refused, or makes no sense, is sent once', async () => {
    proxy.inject({ kind: 'answer', status: 403, code: 'AuthorizationFailure' }, { times: 1 })
    proxy.forget()
    await expect(table.read(keyOf())).rejects.toMatchObject({ statusCode: 403, code: 'AuthorizationFailure' })
    const key = keyOf()
    await table.put({ ...key, text: 'x' }, 'any')
    proxy.inject({ kind: 'corrupt' }, { times: 1 })
    proxy.forget()
    await expect(table.read(key)).rejects.toMatchObject({ name: 'RestError', code: RestError.PARSE_ERROR })
    expect(proxy.transactions()).toHaveLength(1)
  })

  test('a deadline ends a call that hangs, and it is not sent again', async () => {
    proxy.inject({ kind: 'hang' })
    proxy.forget()
    await expect(table.read(keyOf(), { signal: AbortSignal.timeout(50) })).rejects.toMatchObject({ name: 'AbortError' })
    await expect(table.put(keyOf(), 'any', AbortSignal.timeout(50))).rejects.toMatchObject({ name: 'AbortError' })
    expect(proxy.transactions()).toHaveLength(2)
    proxy.heal()
    expect((await table.read(keyOf(), { signal })).entity).toBeUndefined()
  })
})

test('behind a proxy all requests go by the SDK’s own client, which knows it', async () => {
  const target = await startStorageProxy(inject('azurite'))
  const seen: string[] = []
  const { createServer, request } = await import('node:http')
  const server = createServer((incoming, response) => {
    seen.push(`${incoming.method} ${incoming.url?.slice(0, 21)}`)
    const { port, pathname, search } = new URL(incoming.url ?? '')
    const { method, headers } = incoming
    const passed = request({ host: '127.0.0.1', port, path: pathname + search, method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 500, answer.headers)
      answer.pipe(response)
    })
    incoming.pipe(passed)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  vi.stubEnv('HTTP_PROXY', `http://127.0.0.1:${port}`)
  try {
    // Not an address that is never asked by a proxy.
    const connectionString = target.connectionString.replace('//127.0.0.1', '//127.0.0.2')
    const table = openTables({ kind: 'connection-string', connectionString, loopback: true })('tollgatecounters')
    const key = keyOf()
    await table.put({ ...key, text: 'x' }, 'any')
    expect((await table.read(key)).entity).toMatchObject(key)
    expect(seen.map((line) => line.split(' ')[0])).toEqual(['PUT', 'GET'])
  } finally {
    vi.unstubAllEnvs()
    server.close()
    server.closeAllConnections()
    await target.close()
  }
})
