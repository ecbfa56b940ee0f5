import { describe, expect, test } from 'vitest'
import { readSettings } from './settings.ts'

const read = (env: Record<string, string>) => readSettings({ TOLLGATE_STORAGE: 'memory:', ...env }, '/nowhere')
const defaultModel = (env: Record<string, string>) => read(env).policy.models.get('default')?.targets[0].settings

describe('settings', () => {
  test('have defaults for all but storage', () => {
    expect(read({})).toMatchObject({
      maxBodyBytes: 1_048_576,
      maxOutputTokens: 4_096,
      storeDeadlineMs: 2_000,
      cacheDeadlineMs: 50,
    })
    expect(() => readSettings({}, '/nowhere')).toThrow('No storage is configured: set TOLLGATE_STORAGE')
  })

  const deadlines = ({ connectMs, firstByteMs, totalMs }: ReturnType<typeof read>) => [connectMs, firstByteMs, totalMs]
  test('have deadlines that are each a part of the next: what isn’t set is shortened to fit', () => {
    expect(deadlines(read({}))).toEqual([4_000, 120_000, 200_000])
    expect(deadlines(read({ TOLLGATE_TOTAL_MS: '60000' }))).toEqual([4_000, 60_000, 60_000])
    expect(deadlines(read({ TOLLGATE_FIRST_BYTE_MS: '1000' }))).toEqual([1_000, 1_000, 200_000])
    expect(() => read({ TOLLGATE_FIRST_BYTE_MS: '9000', TOLLGATE_TOTAL_MS: '8000' })).toThrow(
      'TOLLGATE_FIRST_BYTE_MS (9000) is longer than TOLLGATE_TOTAL_MS (8000), which it is a part of. Set a shorter one.',
    )
    expect(() => read({ TOLLGATE_CONNECT_MS: '5000', TOLLGATE_FIRST_BYTE_MS: '4999' })).toThrow(
      'TOLLGATE_CONNECT_MS (5000) is longer than TOLLGATE_FIRST_BYTE_MS (4999), which it is a part of. Set a shorter one.',
    )
    expect(() => read({ TOLLGATE_CONNECT_MS: '9', TOLLGATE_TOTAL_MS: '99' })).toThrow(/^2 settings can't be used/)
  })

  test.each(['0', '-1', '1.5', '1e3', 'many', '999999999999'])(
    'refuse TOLLGATE_MAX_BODY_BYTES=%s, by its name',
    (value) => {
      expect(() => read({ TOLLGATE_MAX_BODY_BYTES: value })).toThrow(
        'TOLLGATE_MAX_BODY_BYTES must be a whole number from 1 to',
      )
    },
  )
})

test('a reference to Key Vault that was not resolved is refused, and not taken for the secret', () => {
  const reference = '@Microsoft.KeyVault(SecretUri=https://x.vault.azure.net/secrets/SECRET)'
  for (const setting of ['TOLLGATE_CACHE_SECRET', 'OPENAI_API_KEY', 'TEAM_KEY']) {
    expect(() => read({ [setting]: reference })).toThrow(
      new RegExp(`^${setting} is a reference to Key Vault (?!.*SECRET/).*have the references read again`),
    )
  }
})

describe('TOLLGATE_REDIS', () => {
  test.each([
    undefined,
    'redis://127.0.0.1:6379',
    'redis://localhost',
    'redis://[::1]:6379/3',
    'rediss://:p%40ss@cache.redis.example.com:6380',
    'rediss://user:pass@10.0.0.1/0',
  ])('may be %s', (url) => {
    expect(read({ ...(url === undefined ? {} : { TOLLGATE_REDIS: url }) }).redis).toBe(url)
  })

  test.each([
    ['without TLS to another machine', 'redis://:SECRET@cache.example'],
    ['without TLS to what only begins like this machine', 'redis://:SECRET@127.0.0.1.example'],
    ['without TLS to what hides behind this machine', 'redis://localhost\\@SECRET.example'],
    ['without TLS to what is no address', 'redis://:SECRET@1.2.3.4.5'],
    ['with another protocol', 'https://:SECRET@cache.example'],
    ['without a protocol', 'cache.example:6380,password=SECRET,ssl=True'],
    ['without a host', 'rediss://:SECRET@'],
    ['with a slash in the password', 'rediss://user:12/SECRET@cache.example'],
    ['with a # in the password', 'rediss://user:12#SECRET@cache.example'],
    ['with a ? in the password', 'rediss://user:12?SECRET@cache.example'],
    ['with an @ in the password', 'rediss://user:a@SECRET@cache.example'],
    ['with a stray % in the password', 'rediss://user:%SECRET@cache.example'],
    ['with no number for a database', 'rediss://cache.example/SECRET'],
    ['with a port that there is not', 'rediss://:SECRET@cache.example:65536'],
  ])('%s is refused without being repeated', (_what, value) => {
    expect(() => read({ TOLLGATE_REDIS: value })).toThrow(/^TOLLGATE_REDIS (?!.*SECRET)/)
  })
})

describe('the default model', () => {
  test.each<[string, Record<string, string>, object | undefined]>([
    ['is none where nothing is set', {}, undefined],
    ['is none for a name alone', { OPENAI_MODEL_NAME: 'gpt-5' }, undefined],
    [
      'is OpenAI’s gpt-4 for a key alone',
      { OPENAI_API_KEY: 'k' },
      { kind: 'openai', baseUrl: 'https://api.openai.com/v1', model: 'gpt-4', key: 'k' },
    ],
    [
      'is Azure’s, by key',
      { OPENAI_ENDPOINT: 'https://x.openai.azure.com/', OPENAI_API_KEY: 'k', OPENAI_MODEL_NAME: 'd' },
      { kind: 'azure', endpoint: 'https://x.openai.azure.com', model: 'd', key: 'k', apiVersion: undefined },
    ],
    [
      'is Azure’s, by identity and a dated API',
      { OPENAI_ENDPOINT: 'https://x.openai.azure.com', OPENAI_API_VERSION: '2024-10-21' },
      { kind: 'azure', key: undefined, apiVersion: '2024-10-21' },
    ],
    [
      'is any other server’s',
      { OPENAI_BASE_URL: 'http://127.0.0.1:11434/v1', OPENAI_MODEL_NAME: 'llama3' },
      { kind: 'openai', baseUrl: 'http://127.0.0.1:11434/v1', model: 'llama3', key: undefined },
    ],
  ])('%s', (_what, env, expected) => {
    if (expected === undefined) expect(defaultModel(env)).toBeUndefined()
    else expect(defaultModel(env)).toMatchObject(expected)
  })

  test.each([
    [
      'two places at once',
      { OPENAI_ENDPOINT: 'https://x.openai.azure.com', OPENAI_BASE_URL: 'https://y.example/v1' },
      'OPENAI_ENDPOINT (Azure) and OPENAI_BASE_URL',
    ],
    ['no URL', { OPENAI_BASE_URL: 'localhost' }, 'OPENAI_BASE_URL is not a URL'],
    [
      'plain http to another machine',
      { OPENAI_BASE_URL: 'http://llm.example/v1' },
      'OPENAI_BASE_URL must begin with https',
    ],
    [
      'a password',
      { OPENAI_ENDPOINT: 'https://u:SECRET@x.openai.azure.com' },
      'OPENAI_ENDPOINT must not hold a password',
    ],
    ['identity to a host that is not Azure’s', { OPENAI_ENDPOINT: 'https://llm.example' }, 'OPENAI_ENDPOINT'],
  ])('is refused with %s', (_what, env, message) => {
    expect(() => read(env)).toThrow(message)
  })
})

describe('I2: the URL of a model as the portal shows it', () => {
  const X = 'https://x.openai.azure.com'
  const F = 'https://x.services.ai.azure.com'
  const azure = (change: object = {}) => ({
    kind: 'azure',
    endpoint: X,
    model: 'gpt-4',
    apiVersion: undefined,
    key: 'k',
    ...change,
  })
  const dated = azure({ model: 'gpt-4o', apiVersion: '2024-10-21' })

  test.each<[string, object]>([
    [X, azure()],
    [`${X}/`, azure()],
    [` ${X}//  `, azure()],
    [`${X}/openai`, azure()],
    [`${X}/openai/`, azure()],
    [`${X}/openai/v1`, azure()],
    [`${X}/openai/v1/`, azure()],
    [`${X}//openai//v1//`, azure()],
    [`${X}/OpenAI/V1/`, azure()],
    [`${X}/openai/v1/chat/completions`, azure()],
    [`${X}/openai/v1/chat/completions?api-version=preview`, azure()],
    [`${X}/openai/v1/responses`, azure()],
    [`${X}/openai/responses?api-version=2025-04-01-preview`, azure()],
    [`${X}/?api-version=2024-10-21`, azure({ apiVersion: '2024-10-21' })],
    [`${X}/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21`, dated],
    [`${X}/openai/deployments/gpt-4o/chat/completions/?api-version=2024-10-21#top`, dated],
    [`${X}/openai/deployments/gpt-4o?api-version=2024-10-21`, dated],
    [`${X}/openai/deployments/gpt-4o`, azure({ model: 'gpt-4o' })],
    [`${X}/openai/deployments/my%20model/chat/completions`, azure({ model: 'my model' })],
    [
      'https://x.cognitiveservices.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=2025-01-01-preview',
      azure({ endpoint: 'https://x.cognitiveservices.azure.com', model: 'gpt-4o', apiVersion: '2025-01-01-preview' }),
    ],
    [F, azure({ endpoint: F })],
    [`${F}/models`, azure({ endpoint: F })],
    [`${F}/models/chat/completions?api-version=2024-05-01-preview`, azure({ endpoint: F })],
    [`${F}/api/projects/p`, azure({ endpoint: F })],
    [`${F}/api/projects/p/openai/v1/`, azure({ endpoint: F })],
    [
      `${F}/api/projects/p/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21`,
      { ...dated, endpoint: F },
    ],
    ['http://127.0.0.1:4000/openai/v1/', azure({ endpoint: 'http://127.0.0.1:4000' })],
    ['https://gate.example/llm', azure({ endpoint: 'https://gate.example/llm' })],
    ['https://gate.example/llm/openai/v1/chat/completions', azure({ endpoint: 'https://gate.example/llm' })],
    [
      'https://gate.example/llm/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21',
      { ...dated, endpoint: 'https://gate.example/llm' },
    ],
  ])('as OPENAI_ENDPOINT: %s', (url, expected) => {
    expect(defaultModel({ OPENAI_ENDPOINT: url, OPENAI_API_KEY: 'k' })).toEqual(expected)
  })

  test('settings of their own count more than what the URL names', () => {
    const url = `${X}/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21`
    expect(
      defaultModel({ OPENAI_ENDPOINT: url, OPENAI_MODEL_NAME: 'mini', OPENAI_API_VERSION: '2025-04-01-preview' }),
    ).toEqual(azure({ model: 'mini', apiVersion: '2025-04-01-preview', key: undefined }))
  })

  const other = (baseUrl: string) => ({ kind: 'openai', baseUrl, model: 'gpt-4', key: 'k' })
  test.each<[string, object]>([
    ['https://api.openai.com', other('https://api.openai.com/v1')],
    ['https://api.openai.com/v1/', other('https://api.openai.com/v1')],
    ['https://api.openai.com/v1/chat/completions', other('https://api.openai.com/v1')],
    ['https://api.openai.com/v1/responses', other('https://api.openai.com/v1')],
    ['https://api.openai.com/v1/models', other('https://api.openai.com/v1')],
    ['https://llm.example', other('https://llm.example')],
    ['https://llm.example/models', other('https://llm.example/models')],
    ['https://llm.example//v1//chat/completions/', other('https://llm.example/v1')],
    ['http://localhost:11434/v1/', other('http://localhost:11434/v1')],
    [`${X}/openai/v1/`, other(`${X}/openai/v1`)],
    [`${X}/openai/v1/chat/completions?api-version=preview`, other(`${X}/openai/v1`)],
    [X, azure()],
    [`${X}/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21`, dated],
    [`${F}/api/projects/p`, azure({ endpoint: F })],
    [
      'http://127.0.0.1:4000/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21',
      { ...dated, endpoint: 'http://127.0.0.1:4000' },
    ],
  ])('as OPENAI_BASE_URL: %s', (url, expected) => {
    expect(defaultModel({ OPENAI_BASE_URL: url, OPENAI_API_KEY: 'k' })).toEqual(expected)
  })

  test.each<[string, string, RegExp]>([
    ['OPENAI_ENDPOINT', `${X}/openai/deployments/ada/embeddings?api-version=2024-10-21`, /not chat completions/],
    ['OPENAI_ENDPOINT', `${X}/openai/deployments/gpt/completions`, /not chat completions/],
    ['OPENAI_ENDPOINT', `${X}/openai/images`, /https:\/\/<resource>\.openai\.azure\.com alone/],
    ['OPENAI_ENDPOINT', `${X}/openai/v1/files`, /https:\/\/<resource>\.openai\.azure\.com alone/],
    ['OPENAI_ENDPOINT', `${X}/v1`, /https:\/\/<resource>\.openai\.azure\.com alone/],
    ['OPENAI_ENDPOINT', `${F}/anthropic/v1/messages`, /https:\/\/<resource>\.openai\.azure\.com alone/],
    ['OPENAI_ENDPOINT', `${X}/?key=SECRET`, /holds a query/],
    ['OPENAI_ENDPOINT', `${X}/?api-version=SECRET`, /'api-version' that is no date/],
    ['OPENAI_ENDPOINT', 'https://api.openai.com/v1', /Put it into OPENAI_BASE_URL/],
    ['OPENAI_ENDPOINT', 'https://llm.example/v1/chat/completions', /Put it into OPENAI_BASE_URL/],
    ['OPENAI_ENDPOINT', 'https://ai.azure.com/resource/SECRET', /page on ai\.azure\.com/],
    ['OPENAI_ENDPOINT', 'https://portal.azure.com/#view/SECRET', /page on portal\.azure\.com/],
    ['OPENAI_ENDPOINT', 'x.openai.azure.com', /with https:\/\/ in front/],
    ['OPENAI_BASE_URL', 'https://llm.example/v1?key=SECRET', /holds a query/],
    ['OPENAI_BASE_URL', `${X}/openai/images`, /https:\/\/<resource>\.openai\.azure\.com alone/],
    ['OPENAI_BASE_URL', 'https://platform.openai.com/docs', /page on platform\.openai\.com/],
  ])('%s=%s is refused with the fix', (setting, url, fix) => {
    const faulty = () => read({ [setting]: url, OPENAI_API_KEY: 'k' })
    expect(faulty).toThrow(new RegExp(`^${setting} `))
    expect(faulty).toThrow(fix)
    expect(faulty).not.toThrow(/SECRET/)
  })
})

describe('I2: what would fail each request is refused at the start, without its value', () => {
  const azure = { OPENAI_ENDPOINT: 'https://x.openai.azure.com', OPENAI_API_KEY: 'k' }

  test.each([
    ['OPENAI_API_KEY stands in quotes', { OPENAI_API_KEY: '"sk-HUSH"' }],
    ['OPENAI_API_KEY holds a line break', { OPENAI_API_KEY: 'sk-HUSH\nsk-HUSH' }],
    ['OPENAI_API_KEY holds a line break', { OPENAI_API_KEY: 'sk-HUSH…' }],
    ['OPENAI_MODEL_NAME stands in quotes', { OPENAI_API_KEY: 'k', OPENAI_MODEL_NAME: "'HUSH'" }],
    ['OPENAI_API_VERSION is no date', { ...azure, OPENAI_API_VERSION: '2024' }],
  ])('%s', (text, env) => {
    expect(() => read(env)).toThrow(new RegExp(`^${text}(?!.*HUSH)`))
  })

  test('a key may end with the line break of its file', () => {
    expect(defaultModel({ OPENAI_API_KEY: 'sk-x\n' })).toBeDefined()
  })

  test.each(['v1', 'preview', 'latest'])('OPENAI_API_VERSION=%s means /openai/v1/, as in a URL', (version) => {
    expect(defaultModel({ ...azure, OPENAI_API_VERSION: version })).toMatchObject({ apiVersion: undefined })
    expect(defaultModel({ ...azure, OPENAI_API_VERSION: '2024-10-21' })).toMatchObject({ apiVersion: '2024-10-21' })
  })

  test('another program’s OPENAI_API_VERSION does not matter to a server that has none', () => {
    expect(defaultModel({ OPENAI_API_KEY: 'k', OPENAI_API_VERSION: '2020' })).toBeDefined()
  })
})

test('I1: a port of the local host is no misspelt policy', () => {
  expect(() => read({ TOLLGATE_PORT: '7071' })).toThrow('TOLLGATE_PORT is no setting. Did you mean PORT?')
})

describe('I1: a misspelt setting of the model', () => {
  const target = { OPENAI_BASE_URL: 'https://llm.example/v1', OPENAI_API_KEY: 'k' }

  test.each([
    [{ OPENAI_API_KEY: 'k', OPENAI_BASE_UR: 'https://x.example' }, 'OPENAI_BASE_UR', 'OPENAI_BASE_URL'],
    [{ ...simulated('/simulated/v1'), OPENAI_BASE_UR: 'https://x.example' }, 'OPENAI_BASE_UR', 'OPENAI_BASE_URL'],
    [{ ...simulated('/simulated/v1'), OPENAI_MODEL_NAM: 'gpt-5' }, 'OPENAI_MODEL_NAM', 'OPENAI_MODEL_NAME'],
  ])('is refused where nobody has set the one that is meant: %j', (env, name, meant) => {
    expect(() => read(env)).toThrow(`${name} is no setting. Did you mean ${meant}? Rename it, or unset it.`)
  })

  test.each([
    [
      { ...target, OPENAI_BASE_UR: 'https://x.example' },
      'OPENAI_BASE_UR is not read. Did you mean OPENAI_BASE_URL, which is set to something else? Unset one of them.',
    ],
    [
      { ...target, OPENAI_APIKEY: 'HUSH' },
      'OPENAI_APIKEY is not read. Did you mean OPENAI_API_KEY, which is set to something else? Unset one of them.',
    ],
    [
      { OPENAI_API_KEY: 'k', AZURE_OPENAI_ENDPONT: 'https://HUSH.openai.azure.com' },
      'AZURE_OPENAI_ENDPONT is not read: the setting is OPENAI_ENDPOINT.',
    ],
    [
      { ...simulated('/simulated/v1'), AZURE_OPENAI_API_KEY: 'HUSH' },
      'AZURE_OPENAI_API_KEY is not read: the setting is OPENAI_API_KEY.',
    ],
    [
      { ...simulated('/simulated/v1'), OPENAI_MODEL: 'm' },
      'OPENAI_MODEL is not read: the setting is OPENAI_MODEL_NAME.',
    ],
  ])('is told, where another may be meant: %j', (env, hint) => {
    expect(read(env).hints).toEqual([hint])
  })

  test.each([
    [{ ...target, OPENAI_APIKEY: 'k' }],
    [{ ...target, OPENAI_API_TYPE: 'azure', OPENAI_BASE_URLS: 'a,b', OPENAI_BASE_URL_2: 'b', AZURE_OPENAI_LOG: 'x' }],
    [{ ...simulated('/v1'), OPENAI_MODEL: 'm' }],
  ])('is none: %j', (env) => {
    expect(read(env).hints).toEqual([])
  })

  function simulated(path: string): Record<string, string> {
    return { OPENAI_BASE_URL: `http://127.0.0.1:7072${path}`, OPENAI_MODEL_NAME: 'simulated' }
  }
})
