import { describe, expect, test } from 'vitest'
import { storageLocation } from './index.ts'

const AZURE = 'DefaultEndpointsProtocol=https;AccountName=a;AccountKey=SECRET;EndpointSuffix=core.windows.net'
const LOCAL = 'DefaultEndpointsProtocol=http;AccountName=a;AccountKey=SECRET;TableEndpoint=http://127.0.0.1:10002/a;'

describe('where the tables live', () => {
  test.each<[string, Record<string, string>, object | undefined]>([
    ['nothing set', {}, undefined],
    ['empty', { TOLLGATE_STORAGE: '' }, undefined],
    ['memory', { TOLLGATE_STORAGE: 'memory:' }, { kind: 'memory' }],
    [
      'a connection string',
      { TOLLGATE_STORAGE: AZURE },
      { kind: 'connection-string', connectionString: AZURE, loopback: false },
    ],
    ['Azurite', { TOLLGATE_STORAGE: LOCAL }, { kind: 'connection-string', loopback: true }],
    ['the development account', { AzureWebJobsStorage: 'UseDevelopmentStorage=true' }, { loopback: true }],
    [
      'identity',
      { TOLLGATE_STORAGE: 'https://a.table.core.windows.net' },
      { kind: 'identity', endpoint: 'https://a.table.core.windows.net' },
    ],
    [
      'Cosmos DB',
      { TOLLGATE_STORAGE: 'https://a.table.cosmos.azure.com', AZURE_CLIENT_ID: 'c' },
      { kind: 'identity', clientId: 'c' },
    ],
    [
      'a signature',
      { TOLLGATE_STORAGE: 'TableEndpoint=https://a.table.core.windows.net/;SharedAccessSignature=sv=1&sig=SECRET' },
      { kind: 'connection-string', loopback: false },
    ],
    ['the app’s own account', { AzureWebJobsStorage: AZURE }, { kind: 'connection-string' }],
    [
      'the app’s own, by identity',
      { AzureWebJobsStorage__tableServiceUri: 'https://a.table.core.windows.net/', AzureWebJobsStorage__clientId: 'c' },
      { kind: 'identity', clientId: 'c' },
    ],
    [
      'the app’s own, by name',
      { AzureWebJobsStorage__accountName: 'a' },
      { kind: 'identity', endpoint: 'https://a.table.core.windows.net' },
    ],
    ['ours before the app’s', { TOLLGATE_STORAGE: 'memory:', AzureWebJobsStorage: AZURE }, { kind: 'memory' }],
  ])('%s', (_what, env, expected) => {
    if (expected === undefined) expect(storageLocation(env)).toBeUndefined()
    else expect(storageLocation(env)).toMatchObject(expected)
  })

  test.each([
    ['plain http to another machine', LOCAL.replace('127.0.0.1', 'tables.example')],
    ['a loopback name only at the beginning', LOCAL.replace('127.0.0.1', '127.0.0.1.evil.example')],
    ['something else', 'SECRET'],
    ['another host', 'https://a.blob.core.windows.net'],
    ['one without a key', AZURE.replace('AccountKey=SECRET;', '')],
    ['one without a protocol', AZURE.replace('DefaultEndpointsProtocol=https;', '')],
    ['one without an endpoint', AZURE.replace(';EndpointSuffix=core.windows.net', '')],
    ['one with an endpoint that is no URL', 'TableEndpoint=tables;SharedAccessSignature=SECRET'],
    ['one with neither key nor signature', 'TableEndpoint=https://a.table.core.windows.net'],
    ['one in quotes', `"${AZURE}"`.replace('=a;', '="a";')],
  ])('%s is refused without being repeated', (_what, value) => {
    expect(() => storageLocation({ TOLLGATE_STORAGE: value })).toThrow(/^TOLLGATE_STORAGE (?!.*SECRET)/)
  })
})
