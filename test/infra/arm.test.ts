import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ROOT } from '../support/host.ts'
import { type ArmTemplate, leaksIn, resourcesOf, templatesIn, textsIn, waitsFor } from './arm.ts'
import { type Compiler, NO_COMPILER, type Resource, type Snapshot, startCompiler } from './compiler.ts'

/*
 * What Azure is given: the ARM template that the compiler emits, and what it makes of each choice of parameters.
 */

const MAIN = join(ROOT, 'infra/main.bicep')
const PLACE = {
  tenantId: '00000000-0000-0000-0000-000000000001',
  subscriptionId: '00000000-0000-0000-0000-000000000002',
  resourceGroup: 'group',
  location: 'swedencentral',
  deploymentName: 'test',
}
const THEIR_MODEL =
  '/subscriptions/00000000-0000-0000-0000-000000000003/resourceGroups/other/providers/Microsoft.CognitiveServices/accounts/theirs'
const OPERATOR = '00000000-0000-0000-0000-000000000004'
const ROLES = {
  blobs: 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b',
  queues: '974c5e8b-45b9-4653-ba55-5f855dd0fb88',
  tables: '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3',
  logs: '3913510d-42f4-4e42-8a64-420c390055eb',
  secrets: '4633458b-17de-408a-b874-0445c86b69e6',
  models: '5e0bd9bd-7b93-4f28-af87-19fc36ad61bd',
}

const folder = mkdtempSync(join(tmpdir(), 'tollgate-arm-'))
afterAll(() => rmSync(folder, { recursive: true }))

let compiler: Compiler
beforeAll(() => {
  if (NO_COMPILER === undefined) compiler = startCompiler()
})
afterAll(() => compiler?.stop())

async function compiled(path: string): Promise<ArmTemplate> {
  const { contents, diagnostics } = await compiler.compile(path)
  expect(diagnostics).toEqual([])
  return JSON.parse(contents ?? '')
}

describe.skipIf(NO_COMPILER !== undefined)('the ARM template', () => {
  let main: ArmTemplate
  let all: readonly (readonly [string, ArmTemplate])[]
  beforeAll(async () => {
    main = await compiled(MAIN)
    all = templatesIn(main)
  })

  test('is main and its modules, each deployed in a scope of its own', () => {
    expect(all.map(([name]) => name)).toEqual(expect.arrayContaining(['main', 'roles', 'modelRole', 'app', 'vault']))
    expect(all.length).toBeGreaterThan(13)
    for (const resource of resourcesOf(main)) {
      expect(resource.type).toBe('Microsoft.Resources/deployments')
      expect(resource.properties.expressionEvaluationOptions).toEqual({ scope: 'inner' })
    }
  })

  test('lets no secret into an output, a setting, or a parameter that is kept with the deployment', () => {
    expect(all.flatMap(([name, template]) => leaksIn(template, name))).toEqual([])
    const secure = Object.entries(main.parameters ?? {}).filter(([, { type }]) => type === 'securestring')
    expect(secure.map(([name]) => name).sort()).toEqual(['cacheSecret', 'openAiApiKey'])
  })

  test('gives each role to a stated kind of principal, on one resource, under a name that a second deployment has too', () => {
    const assignments = all.flatMap(([, template]) =>
      resourcesOf(template).filter(({ type }) => type === 'Microsoft.Authorization/roleAssignments'),
    )
    expect(assignments).toHaveLength(10)
    for (const { scope, name, properties } of assignments) {
      expect(scope).toMatch(/^\[resourceId\('Microsoft\.\w+\/\w+', /)
      const [, on] = /^\[(.*)\]$/.exec(scope ?? '') ?? []
      const [, principal] = /^\[(.*)\]$/.exec(properties.principalId) ?? []
      expect(name.startsWith(`[guid(${on}, ${principal}, `)).toBe(true)
      expect(properties.principalType).toMatch(/^(?:ServicePrincipal|\[parameters\('operatorPrincipalType'\)\])$/)
    }
  })

  test('names its deployments by its own, so that two in one group do not meet', () => {
    for (const { name } of resourcesOf(main)) expect(name).toMatch(/uniqueString\('\w+', deployment\(\)\.name\)/)
  })

  test('reads no resource that may not be there: from language version 2.0 on, each that is declared is read', () => {
    const read = all
      .filter(([, { languageVersion }]) => languageVersion !== undefined)
      .flatMap(([name, template]) => resourcesOf(template).flatMap(({ existing }) => (existing ? [name] : [])))
    expect(read).toEqual([])
  })

  test('makes a resource before a module that goes by its name', () => {
    expect([...waitsFor(main, 'roles')]).toEqual(
      expect.arrayContaining(['identity', 'storage', 'monitoring', 'vault', 'model']),
    )
    expect([...waitsFor(main, 'redisCache')]).toContain('vault')
    expect([...waitsFor(main, 'privateEndpoints')]).toEqual(
      expect.arrayContaining(['network', 'storage', 'vault', 'model', 'redisCache']),
    )
    expect([...waitsFor(main, 'app')]).toEqual(
      expect.arrayContaining([
        'storage',
        'monitoring',
        'vault',
        'roles',
        'modelRole',
        'privateEndpoints',
        'redisCache',
      ]),
    )
  })

  test('makes one at a time of what its owner changes one at a time', () => {
    const loops = all.flatMap(
      ([, template]) => resourcesOf(template) as readonly { copy?: { name: string; batchSize?: number } }[],
    )
    const serial = loops.flatMap(({ copy }) => (copy?.batchSize === 1 ? [copy.name] : []))
    expect(serial.sort()).toEqual(['models', 'privateEndpoints'])
  })
})

// What the checks above are worth: each mistake is one that they find.
describe('a leak is found:', () => {
  const secure = { key: { type: 'securestring' } }
  const none = { parameters: secure, resources: [] }
  const deployment = (properties: unknown) => ({ type: 'Microsoft.Resources/deployments', name: 'x', properties })
  const takes = (type: string) => ({ template: { parameters: { it: { type } }, resources: [] } })

  test.each<[string, ArmTemplate, string[]]>([
    ['none', none, []],
    ['in an output', { ...none, outputs: { o: { type: 'string', value: "[parameters('key')]" } } }, ['it: output o']],
    ['a secure output', { ...none, outputs: { o: { type: 'secureString' } } }, ['it: output o']],
    [
      'a listed key',
      { ...none, outputs: { o: { type: 'string', value: "[listKeys('x', '1').k]" } } },
      ['it: output o'],
    ],
    [
      'a default',
      { parameters: { key: { type: 'secureString', defaultValue: 'sk-1' } }, resources: [] },
      ['it: the default of key'],
    ],
    [
      'by way of variables',
      {
        ...none,
        variables: { a: "[variables('b')]", b: "[toLower(parameters('key'))]" },
        resources: [{ type: 'T', name: 'x', properties: { a: ["[variables('a')]"] } }],
      },
      ['it: properties.a.0 of T'],
    ],
    [
      'to a parameter that is kept',
      {
        ...none,
        resources: [deployment({ parameters: { it: { value: "[parameters('key')]" } }, ...takes('string') })],
      },
      ['it: properties.parameters.it.value of Microsoft.Resources/deployments'],
    ],
    [
      'none, to one that is secure',
      {
        ...none,
        resources: [deployment({ parameters: { it: { value: "[parameters('key')]" } }, ...takes('securestring') })],
      },
      [],
    ],
    [
      'none, in a vault, nor in asking whether there is one',
      {
        ...none,
        resources: [
          {
            type: 'Microsoft.KeyVault/vaults/secrets',
            name: 'x',
            condition: "[not(empty(parameters('key')))]",
            properties: { value: "[parameters('key')]" },
          },
        ],
      },
      [],
    ],
  ])('%s', (_what, template, leaks) => {
    expect(leaksIn(template, 'it')).toEqual(leaks)
  })
})

/** Names and values. Where a value is known in Azure only, the compiler leaves the whole list as the expression of it. */
function settingsOf({ properties }: Resource): ReadonlyMap<string, string> {
  const { appSettings } = properties.siteConfig
  if (typeof appSettings !== 'string') {
    return new Map(appSettings.map(({ name, value }: { name: string; value: string }) => [name, value]))
  }
  const pairs = appSettings.matchAll(/'([A-Z]\w*)', (?:'([^']*)'|((?:(?!, '[A-Z]\w*', |createObject).)*))/g)
  return new Map([...pairs].map(([, name = '', text, expression = '']) => [name, text ?? expression]))
}

type OpenAi = 'new' | 'existing' | 'none'
interface Choice {
  readonly openAi: OpenAi
  readonly redis: boolean
  readonly privateNetwork: boolean
  /** Everything else that can be asked for. */
  readonly rest: boolean
}

const BOTH = [false, true]
// Each pair of choices is there, and each of the first three together.
const choices: readonly Choice[] = (['new', 'existing', 'none'] as const).flatMap((openAi) =>
  BOTH.flatMap((redis) =>
    BOTH.map((privateNetwork) => {
      const others = [openAi === 'existing', redis, privateNetwork]
      return { openAi, redis, privateNetwork, rest: others.filter((chosen) => chosen).length % 2 === 1 }
    }),
  ),
)

function parameters({ openAi, redis, privateNetwork, rest }: Choice): string {
  return [
    `using '${relative(folder, MAIN)}'`,
    "param environmentName = 'dev'",
    `param openAi = '${openAi}'`,
    `param redis = ${redis}`,
    `param privateNetwork = ${privateNetwork}`,
    ...(openAi === 'existing' ? [`param openAiResourceId = '${THEIR_MODEL}'`] : []),
    ...(openAi === 'new'
      ? ["param openAiDeployments = [{ name: 'm', model: 'm', version: '1', sku: 'Standard', capacity: 1 }]"]
      : []),
    ...(rest
      ? [
          "param tags = { team: 'gateway' }",
          'param alwaysReadyInstances = 1',
          "param siteUpdateStrategy = 'RollingUpdate'",
          "param corsOrigins = ['https://chat.example.com']",
          "param policyPath = 'prod.policy.yaml'",
          'param appTelemetry = false',
          "param targetHosts = ['models.example.com']",
          'param trustEasyAuth = true',
          "param policyVariables = { TEAM_KEY: 'team-key' }",
          'param keepOpenAiApiKey = true',
          "param alertEmail = 'ops@example.com'",
          'param monthlyBudget = 50',
          `param operatorPrincipalId = '${OPERATOR}'`,
        ]
      : []),
    '',
  ].join('\n')
}

describe.skipIf(NO_COMPILER !== undefined)('what is made', () => {
  describe.each(choices)('of openAi $openAi, redis $redis, privateNetwork $privateNetwork, rest $rest', (choice) => {
    const { openAi, redis, privateNetwork, rest } = choice
    let made: Snapshot
    beforeAll(async () => {
      const file = join(folder, `${Object.values(choice).join('-')}.bicepparam`)
      writeFileSync(file, parameters(choice))
      made = await compiler.snapshot(file, PLACE)
    })
    const all = (type: string) => made.predictedResources.filter((resource) => resource.type === type)
    function one(type: string): Resource {
      const [resource, ...others] = all(type)
      if (resource === undefined || others.length > 0) throw new Error(`${others.length + 1} of ${type}`)
      return resource
    }

    test('is what was asked for, each under a name of its own', () => {
      expect(made.diagnostics).toEqual([])
      const counts = (types: Record<string, number>) =>
        expect(Object.fromEntries(Object.keys(types).map((type) => [type, all(type).length]))).toEqual(types)
      counts({
        'Microsoft.Web/sites': 1,
        'Microsoft.Web/serverfarms': 1,
        'Microsoft.CognitiveServices/accounts': openAi === 'new' ? 1 : 0,
        'Microsoft.CognitiveServices/accounts/deployments': openAi === 'new' ? 1 : 0,
        'Microsoft.Cache/redisEnterprise': redis ? 1 : 0,
        'Microsoft.Network/virtualNetworks': privateNetwork ? 1 : 0,
        'Microsoft.Insights/scheduledQueryRules': rest ? 6 : 0,
        'Microsoft.Insights/metricAlerts': rest ? 2 : 0,
        'Microsoft.Consumption/budgets': rest ? 1 : 0,
      })
      const ids = made.predictedResources.map(({ id }) => id)
      expect(new Set(ids).size).toBe(ids.length)
    })

    test('takes no key where an Entra token will do, and nothing in clear', () => {
      expect(one('Microsoft.Storage/storageAccounts').properties).toMatchObject({
        allowSharedKeyAccess: false,
        allowBlobPublicAccess: false,
        allowCrossTenantReplication: false,
        supportsHttpsTrafficOnly: true,
        minimumTlsVersion: 'TLS1_2',
      })
      expect(one('Microsoft.Storage/storageAccounts/blobServices/containers').properties.publicAccess).toBe('None')
      expect(one('Microsoft.KeyVault/vaults').properties).toMatchObject({
        enableRbacAuthorization: true,
        enablePurgeProtection: true,
        enableSoftDelete: true,
      })
      expect(one('Microsoft.OperationalInsights/workspaces').properties.features.disableLocalAuth).toBe(true)
      expect(one('Microsoft.Insights/components').properties.DisableLocalAuth).toBe(true)
      for (const { properties } of all('Microsoft.CognitiveServices/accounts')) {
        expect(properties.disableLocalAuth).toBe(true)
      }
      for (const { properties } of all('Microsoft.Cache/redisEnterprise')) {
        expect(properties.minimumTlsVersion).toBe('1.2')
      }
      for (const { properties } of all('Microsoft.Cache/redisEnterprise/databases')) {
        expect(properties.clientProtocol).toBe('Encrypted')
      }
      const passwords = all('Microsoft.Web/sites/basicPublishingCredentialsPolicies')
      expect(passwords.map(({ name, properties }) => [name.split('/')[1], properties.allow])).toEqual([
        ['scm', false],
        ['ftp', false],
      ])
    })

    test('gives these roles and no other', () => {
      const given = all('Microsoft.Authorization/roleAssignments').map(({ id, properties }) => ({
        on:
          /^\[extensionResourceId\('([^']+)'/.exec(id)?.[1] ??
          /^(.*)\/providers\/Microsoft\.Authorization\//.exec(id)?.[1],
        role: properties.roleDefinitionId,
        to: properties.principalType === 'User' ? properties.principalId : properties.principalType,
      }))
      const role = (on: string, id: string, to = 'ServicePrincipal') => ({
        on,
        role: `/subscriptions/${on.split('/')[2]}/providers/Microsoft.Authorization/roleDefinitions/${id}`,
        to,
      })
      const { id: storage } = one('Microsoft.Storage/storageAccounts')
      const model = openAi === 'new' ? [one('Microsoft.CognitiveServices/accounts').id] : [THEIR_MODEL]
      const expected = [
        role(storage, ROLES.blobs),
        role(storage, ROLES.queues),
        role(storage, ROLES.tables),
        role(one('Microsoft.Insights/components').id, ROLES.logs),
        role(one('Microsoft.KeyVault/vaults').id, ROLES.secrets),
        ...(openAi === 'none' ? [] : model.map((id) => role(id, ROLES.models))),
        ...(rest ? [role(storage, ROLES.tables, OPERATOR)] : []),
      ]
      const sorted = (roles: readonly unknown[]) => roles.map((one) => JSON.stringify(one)).sort()
      expect(sorted(given)).toEqual(sorted(expected))
    })

    test('is an app that takes HTTPS alone, and browsers of named origins alone', () => {
      const { properties } = one('Microsoft.Web/sites')
      expect(properties).toMatchObject({ httpsOnly: true, clientAffinityEnabled: false })
      expect(properties.siteConfig.minTlsVersion).toBe('1.2')
      expect(properties.siteConfig.cors).toEqual(
        rest ? { allowedOrigins: ['https://chat.example.com'], supportCredentials: false } : null,
      )
      expect(properties.virtualNetworkSubnetId).toBe(
        privateNetwork ? `${one('Microsoft.Network/virtualNetworks').id}/subnets/app` : null,
      )
      expect(properties.functionAppConfig).toMatchObject({
        runtime: { name: 'node', version: '24' },
        deployment: { storage: { type: 'blobContainer', authentication: { type: 'UserAssignedIdentity' } } },
        scaleAndConcurrency: { alwaysReady: rest ? [{ name: 'http', instanceCount: 1 }] : [] },
        siteUpdateStrategy: rest ? { type: 'RollingUpdate' } : null,
      })
    })

    test('has settings that hold no secret, but its place in the vault', () => {
      const settings = settingsOf(one('Microsoft.Web/sites'))
      const inVault = [...settings].flatMap(([name, value]) => {
        const secret = /@Microsoft\.KeyVault\(SecretUri=.*'([\w-]+)'\)/.exec(value)?.[1]
        return secret === undefined ? [] : [[name, secret]]
      })
      expect(Object.fromEntries(inVault)).toEqual({
        TOLLGATE_CACHE_SECRET: 'cache-secret',
        ...(redis ? { TOLLGATE_REDIS: 'redis-url' } : {}),
        ...(rest ? { OPENAI_API_KEY: 'openai-api-key', TEAM_KEY: 'team-key' } : {}),
      })
      expect(settings.has('OPENAI_ENDPOINT')).toBe(openAi !== 'none')
      expect(settings.get('TOLLGATE_POLICY')).toBe(rest ? 'prod.policy.yaml' : undefined)
      expect(settings.get('TOLLGATE_TRUST_EASY_AUTH')).toBe(rest ? 'true' : undefined)
      expect(settings.get('TOLLGATE_APPLICATION_INSIGHTS')).toBe(rest ? 'off' : undefined)
    })

    test('keeps secrets in the vault alone', () => {
      const secret = /\blist[A-Z]\w*\(|newGuid\(|parameters\('(?:cacheSecret|openAiApiKey)'\)/
      const holders = made.predictedResources.filter(({ condition: _, ...resource }) =>
        [...textsIn(resource)].some(([, text]) => secret.test(text)),
      )
      expect(holders.map(({ name }) => name.split('/')[1])).toEqual([
        'cache-secret',
        'openai-api-key',
        ...(redis ? ['redis-url'] : []),
      ])
      expect(holders.every(({ type }) => type === 'Microsoft.KeyVault/vaults/secrets')).toBe(true)
      expect([...textsIn(made.outputs)].filter(([, text]) => secret.test(text))).toEqual([])
    })

    test('is reached by private endpoints where it is not reached otherwise', () => {
      const reachable = made.predictedResources.filter(
        ({ type, properties }) => properties?.publicNetworkAccess !== undefined && type !== 'Microsoft.Web/sites',
      )
      const expected = privateNetwork ? 'Disabled' : 'Enabled'
      expect(reachable.map(({ properties }) => properties.publicNetworkAccess)).toEqual(reachable.map(() => expected))
      const endpoints = all('Microsoft.Network/privateEndpoints').flatMap(({ properties }) =>
        properties.privateLinkServiceConnections.map(
          ({ properties }: Resource) => `${properties.groupIds.join()} ${properties.privateLinkServiceId}`,
        ),
      )
      const groups: Record<string, string[]> = {
        'Microsoft.Storage/storageAccounts': ['blob', 'queue', 'table'],
        'Microsoft.KeyVault/vaults': ['vault'],
        'Microsoft.CognitiveServices/accounts': ['account'],
        'Microsoft.Cache/redisEnterprise': ['redisEnterprise'],
      }
      const wanted = reachable.flatMap(({ type, id }) =>
        (groups[type] ?? [`? ${type}`]).map((group) => `${group} ${id}`),
      )
      expect(endpoints.sort()).toEqual(privateNetwork ? wanted.sort() : [])
      for (const type of [
        'privateDnsZones',
        'privateDnsZones/virtualNetworkLinks',
        'privateEndpoints/privateDnsZoneGroups',
      ]) {
        expect(all(`Microsoft.Network/${type}`)).toHaveLength(endpoints.length)
      }
    })
  })

  test('in one group by two environments is two of everything but the zones of the network', async () => {
    const text = parameters({ openAi: 'new', redis: true, privateNetwork: true, rest: true })
    const [one = [], two = []] = await Promise.all(
      ['blue', 'green'].map(async (name) => {
        const file = join(folder, `${name}.bicepparam`)
        writeFileSync(file, text.replace("'dev'", `'${name}'`))
        const { predictedResources } = await compiler.snapshot(file, PLACE)
        return predictedResources.map(({ type, id }) => ({ type, id }))
      }),
    )
    const shared = one.filter(({ id }) => two.some((other) => other.id === id))
    expect(new Set(shared.map(({ type }) => type))).toEqual(new Set(['Microsoft.Network/privateDnsZones']))
  })

  test('of a deployment of a model that lacks something is nothing, and the message names it', async () => {
    const file = join(folder, 'lacking.bicepparam')
    const text = parameters({ openAi: 'new', redis: false, privateNetwork: false, rest: false })
    writeFileSync(file, text.replace(", version: '1'", ''))
    await expect(compiler.snapshot(file, PLACE)).rejects.toThrow("property 'version'")
  })

  test('of the parameter file in the repository is an app with a model that an operator can use', async () => {
    const { predictedResources, diagnostics } = await compiler.snapshot(join(ROOT, 'infra/main.bicepparam'), PLACE)
    expect(diagnostics).toEqual([])
    expect(predictedResources.filter(({ type }) => type.endsWith('accounts/deployments'))).toHaveLength(1)
  })
})
