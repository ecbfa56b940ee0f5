import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readSettings } from '../../functions/settings.ts'
import { ROOT } from '../support/host.ts'
import { moduleFaults, nameFaults, parameterFileFaults } from './names.ts'
import { flexFaults, roleFaults, versionFaults } from './platform.ts'
import { secretFaults } from './secrets.ts'
import { settingsOf, settingsReadBy } from './settings.ts'
import { filesOf, of, readTemplate, type Template, within } from './template.ts'

const templates = filesOf('.bicep').map((file) => readTemplate(file))
const parameterFiles = filesOf('.bicepparam').map((file) => readTemplate(file))
const main = template('infra/main.bicep')
const app = template('infra/modules/app.bicep')

function template(file: string, among: readonly Template[] = templates): Template {
  const found = among.find((one) => one.file === file)
  if (found === undefined) throw new Error(`${file} is not there`)
  return found
}

/** All templates, with one of them changed. */
function changed(file: string, from: string | RegExp, to: string): { one: Template; all: Template[] } {
  const { text } = template(file)
  const edited = text.replace(from, to)
  if (edited === text) throw new Error(`${file} doesn't hold ${from}`)
  const one = readTemplate(file, edited)
  return { one, all: templates.map((other) => (other.file === file ? one : other)) }
}

/** @param all what the modules that it names are looked up in */
function faultsOf(one: Template, all: readonly Template[] = templates): string[] {
  return [
    ...one.faults,
    ...nameFaults(one),
    ...moduleFaults(one, all),
    ...versionFaults(one),
    ...roleFaults(one),
    ...flexFaults(one),
    ...secretFaults(one, all),
  ]
}

describe('the templates', () => {
  test.each(templates.map((one) => [one.file, one] as const))('%s has no fault', (_file, one) => {
    expect(one.declarations.length).toBeGreaterThan(0)
    expect(faultsOf(one)).toEqual([])
  })

  test.each(parameterFiles.map((one) => [one.file, one] as const))('%s is one for main.bicep', (_file, one) => {
    expect(one.faults).toEqual([])
    expect(parameterFileFaults(one, main)).toEqual([])
  })

  test('every module is used', () => {
    const used = of(main, 'module').map(({ target }) => `infra/${target}`)
    expect(templates.map(({ file }) => file).filter((file) => file !== main.file && !used.includes(file))).toEqual([])
  })
})

describe('a mistake is found:', () => {
  const output = (of: string) => `@description('It.')\noutput it string = ${of}\n`
  const role = "resource own 'Microsoft.Authorization/roleAssignments@2022-04-01' = {\n  name: 'x'\n  scope: vault\n}\n"

  test.each<[string, string, string | RegExp, string, RegExp]>([
    ['a brace too few', 'main', '  }\n}', '  }\n', /^infra\/main\.bicep:\d+: /],
    ['a version that is not there', 'modules/storage', '@2025-06-01', '@2025-06-31', /unknown .*2025-06-31/],
    ['a type that is not there', 'modules/app', 'Web/sites@', 'Web/site@', /unknown Microsoft.Web\/site@/],
    ['another role', 'modules/roles', 'b7e6dc6d-f1e8', '8e3af657-a8ff', /unknown role 8e3af657/],
    ['a role for the whole group', 'modules/roles', '  scope: vault\n', '', /a role for the whole group/],
    ['a role elsewhere', 'modules/vault', /$/, role, /a role outside/],
    ['a secret that is put out', 'modules/vault', /$/, output('cacheSecret'), /cacheSecret in output it/],
    [
      'a secret that is put out by way of variables',
      'modules/vault',
      /$/,
      `var a = toLower(b)\nvar b = toLower(cacheSecret)\n${output('a')}`,
      /: a in output it/,
    ],
    [
      'a listed key that is put out',
      'modules/redis',
      /$/,
      output('database.listKeys().primaryKey'),
      /listKeys\(\) in output it/,
    ],
    [
      'a secret as the setting itself',
      'modules/app',
      'param cacheSecretName',
      '@secure()\nparam cacheSecretName',
      /siteConfig in resource app/,
    ],
    ['a secret as a name', 'modules/vault', "name: 'cache-secret'", 'name: cacheSecret', /cacheSecret in resource/],
    [
      'a secure value for a parameter that is not',
      'main',
      'openAiBaseUrl: openAiBaseUrl',
      'openAiBaseUrl: openAiApiKey',
      /openAiApiKey in module app/,
    ],
    [
      'a parameter that is no longer secure',
      'modules/vault',
      '@secure()\nparam cacheSecret',
      'param cacheSecret',
      /cacheSecret in module vault/,
    ],
    ['a parameter that is misspelled', 'main', 'planName: ', 'plansName: ', /no parameter plansName/],
    ['a parameter that is left out', 'main', / {4}planName: .*\n/, '', /planName is not passed/],
    ['an output that is not there', 'main', '.tableEndpoint', '.tablesEndpoint', /no output tablesEndpoint/],
    ['a module that is not there', 'main', 'modules/network.', 'modules/networks.', /networks\.bicep is not there/],
    ['a name that is not there', 'modules/app', ': plan.id', ': plans.id', /plans is not declared/],
    ['a name that is not there, in a string', 'main', "{token}'", "{tokens}'", /tokens is not declared/],
    ['a name that is there twice', 'modules/app', /$/, "var plan = ''\n", /plan is declared twice/],
    ['a function that is not there', 'main', 'last(', 'lastOf(', /unknown lastOf/],
    ['a parameter that nobody uses', 'modules/app', ': httpConcurrency', ': 100', /httpConcurrency is not used/],
    [
      'a parameter without a description',
      'modules/app',
      "@description('Name of the app.')\n",
      '',
      /: name has no desc/,
    ],
    ['a setting that the plan refuses', 'modules/app', "minTlsVersion: '1.2'", "ftpsState: 'Disabled'", /is refused/],
  ])('%s', (_what, name, from, to, fault) => {
    const file = `infra/${name}.bicep`
    const { one, all } = changed(file, from, to)
    const faults = [...faultsOf(one, all), ...faultsOf(template('infra/main.bicep', all), all)]
    expect(faults).toContainEqual(expect.stringMatching(fault))
  })

  test.each<[string, RegExp, string, RegExp]>([
    ['a parameter that is not there', /^param openAi =/m, 'param openAis =', /no parameter openAis/],
    ['one that must be there', /^param environmentName = .*$/m, '', /environmentName is not set/],
    ['a secret', /$/, "param openAiApiKey = 'sk-1'\n", /openAiApiKey stands in the file/],
  ])('in the parameter file, %s', (_what, from, to, fault) => {
    const { file, text } = template('infra/main.bicepparam', parameterFiles)
    const faults = parameterFileFaults(readTemplate(file, text.replace(from, to)), main)
    expect(faults).toContainEqual(expect.stringMatching(fault))
  })
})

describe('the app settings', () => {
  const read = ['functions/settings.ts', 'packages/middleware/src/storage/location.ts'].flatMap((file) =>
    settingsReadBy(readFileSync(join(ROOT, file), 'utf8')),
  )
  const given = settingsOf(main, app)

  /** Read by the code, and given by nobody here. */
  const NOT_GIVEN: Readonly<Record<string, string>> = {
    TOLLGATE_STORAGE: 'the tables are in the app’s own account',
    AZURE_FUNCTIONS_ENVIRONMENT: 'the platform says it, and a host on a developer’s machine',
    AzureWebJobsStorage: 'a connection string holds a key, and keys are off',
  }
  /** Given here, and read elsewhere: by the host, its libraries, or what sends telemetry. */
  const READ_ELSEWHERE: Readonly<Record<string, string>> = {
    AzureWebJobsStorage__blobServiceUri: 'the host',
    AzureWebJobsStorage__queueServiceUri: 'the host',
    AzureWebJobsStorage__credential: 'the host',
    APPLICATIONINSIGHTS_CONNECTION_STRING: 'the host’s logs',
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'the host’s logs',
    TOLLGATE_APPLICATION_INSIGHTS: 'functions/telemetry.ts',
  }

  test('are found in the code', () => {
    expect(read).toEqual(expect.arrayContaining(['TOLLGATE_REDIS', 'OPENAI_BASE_URL', 'TOLLGATE_IDLE_MS']))
    expect(read.length).toBeGreaterThanOrEqual(24)
  })

  test('that the code reads are given, or there is a reason', () => {
    expect(read.filter((name) => !given.includes(name) && !(name in NOT_GIVEN))).toEqual([])
    expect(Object.keys(NOT_GIVEN).filter((name) => given.includes(name) || !read.includes(name))).toEqual([])
  })

  test('that are given are read, by the code, the platform or what sends telemetry', () => {
    expect(given.filter((name) => !read.includes(name) && !(name in READ_ELSEWHERE))).toEqual([])
    expect(Object.keys(READ_ELSEWHERE).filter((name) => !given.includes(name))).toEqual([])
  })

  test('that bound something have the defaults of the code', () => {
    const bounds = of(main, 'param').find(({ name }) => name === 'bounds')?.node.text ?? ''
    const env = Object.fromEntries([...bounds.matchAll(/^ {2}(\w+): (\d+)$/gm)].map(([, name, value]) => [name, value]))
    expect(Object.keys(env)).toHaveLength(9)
    const storage = { TOLLGATE_STORAGE: 'memory:' }
    expect(JSON.stringify(readSettings({ ...storage, ...env }, ROOT))).toBe(JSON.stringify(readSettings(storage, ROOT)))
  })

  test('hold no secret: what is one is a reference to the vault', () => {
    const text = app.text
    for (const name of ['TOLLGATE_CACHE_SECRET', 'TOLLGATE_REDIS', 'OPENAI_API_KEY']) {
      expect(text).toMatch(new RegExp(`${name}: '\\$\\{secrets\\}\\$\\{\\w+\\}\\)'`))
    }
    expect(text).toMatch(/^var secrets = '@Microsoft\.KeyVault\(SecretUri=\$\{vaultUri\}secrets\/'$/m)
  })
})

describe('what is said of the resources', () => {
  const has = (file: string, ...lines: readonly string[]) => {
    for (const line of lines)
      expect(template(file).text).toMatch(new RegExp(`^ *${line.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`, 'm'))
  }

  test('nothing takes a key where Entra tokens will do', () => {
    has(
      'infra/modules/storage.bicep',
      'allowSharedKeyAccess: false',
      'allowBlobPublicAccess: false',
      "minimumTlsVersion: 'TLS1_2'",
    )
    has('infra/modules/monitoring.bicep', 'DisableLocalAuth: true', 'disableLocalAuth: true')
    has('infra/modules/open-ai.bicep', 'disableLocalAuth: true', 'customSubDomainName: name')
    has('infra/modules/vault.bicep', 'enableRbacAuthorization: true', 'enablePurgeProtection: true')
    has('infra/modules/app.bicep', 'httpsOnly: true', "minTlsVersion: '1.2'", 'allow: false')
  })

  test('with a private network, nothing that is reached by endpoint is reached otherwise', () => {
    for (const name of ['storage', 'vault', 'open-ai', 'redis']) {
      has(`infra/modules/${name}.bicep`, "publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'")
    }
    expect(main.text.match(/publicAccess: !privateNetwork/g)).toHaveLength(4)
    has('infra/modules/network.bicep', "serviceName: 'Microsoft.App/environments'")
  })

  test('a Redis keeps its counters, and is reached at one address', () => {
    has(
      'infra/modules/redis.bicep',
      "evictionPolicy: 'VolatileLRU'",
      "clusteringPolicy: 'EnterpriseCluster'",
      'aofEnabled: true',
    )
  })

  test('defaults are small', () => {
    const defaults = [
      'instanceMemoryMB int = 2048',
      'maximumInstanceCount int = 40',
      'alwaysReadyInstances int = 0',
      'logRetentionDays int = 30',
    ]
    has(
      'infra/main.bicep',
      ...[...defaults, 'redis bool = false', 'privateNetwork bool = false', 'corsOrigins array = []'].map(
        (text) => `param ${text}`,
      ),
    )
    has('infra/modules/app.bicep', "name: 'node'", "version: '24'", "name: 'FC1'")
  })

  test('deployments are made one by one', () => {
    const { decorators } =
      of(template('infra/modules/open-ai.bicep'), 'resource').find(({ name }) => name === 'models') ?? {}
    expect(decorators?.has('batchSize')).toBe(true)
  })

  test.each([
    ['a cache secret', 'vault', 'storedCacheSecret'],
    ['a budget, whose start can’t be moved,', 'budget', 'budget'],
  ])('%s that is there is never replaced', (_what, file, name) => {
    const { decorators } =
      of(template(`infra/modules/${file}.bicep`), 'resource').find((one) => one.name === name) ?? {}
    expect(decorators?.has('onlyIfNotExists')).toBe(true)
  })

  test('no model is chosen for whoever deploys, since any retires', () => {
    has('infra/main.bicep', 'param openAiDeployments array = []')
    const [parameters] = parameterFiles
    for (const variable of ['TOLLGATE_MODEL', 'TOLLGATE_MODEL_VERSION'])
      expect(parameters?.text).toContain(`: readEnvironmentVariable('${variable}')`)
  })

  test('no comment or string speaks of a file that is not there', () => {
    const named = templates.flatMap(({ root }) =>
      [...within(root)]
        .filter(({ type }) => type === 'comment')
        .flatMap(({ text }) => text.match(/\b(?:docs|infra)\/[\w./-]+\w/g) ?? []),
    )
    for (const file of named) expect(() => readFileSync(join(ROOT, file))).not.toThrow()
  })
})
