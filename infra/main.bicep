/*
 * Tollgate in one resource group: the Function app, its storage, its identity, its logs and what watches them; and, where
 * they are asked for, a model, a Redis and a private network. docs/infra.md tells what each parameter does.
 */
targetScope = 'resourceGroup'

// ---- Names and place

@description('Name of this environment, such as dev or prod. Resource names are made from it, so another name is another Tollgate.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('Azure region. It must offer Flex Consumption, and Azure OpenAI if openAi is new.')
param location string = resourceGroup().location

@description('Tags for every resource, beside those of the environment.')
param tags object = {}

// ---- The app

@description('Memory of one instance, in MB. It sets its share of a processor too.')
@allowed([
  512
  2048
  4096
])
param instanceMemoryMB int = 2048

@description('The most instances at once. The platform takes no less than 40.')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Instances that are kept running for HTTP, and paid for all the time. 0: the first request after a pause waits for a start.')
@minValue(0)
@maxValue(100)
param alwaysReadyInstances int = 0

@description('Requests that one instance serves at once before another is started. They mostly wait for the model.')
@minValue(1)
@maxValue(1000)
param httpConcurrency int = 100

@description('How instances are replaced when code or settings change. Recreate cuts streams off. RollingUpdate lets them end, and is a preview of the platform.')
@allowed([
  'Recreate'
  'RollingUpdate'
])
param siteUpdateStrategy string = 'Recreate'

@description('Origins that browsers may call from, such as https://chat.example.com. None: no CORS.')
param corsOrigins array = []

@description('Path of the policy document in the package. Empty: tollgate.policy.yaml.')
param policyPath string = ''

@description('Hosts that a policy may send prompts to, beside the usual ones.')
param targetHosts array = []

@description('Whether callers may come by App Service\'s authentication (EasyAuth), once you switched that on: TOLLGATE_TRUST_EASY_AUTH=true. Tokens of issuers in the policy need nothing here.')
param trustEasyAuth bool = false

@description('Variables that a policy may read, each with the name of the vault secret that it holds: { TEAM_KEY: \'team-key\' }. The secrets must be in the vault.')
param policyVariables object = {}

@description('Sizes in bytes or tokens and times in ms that docs/settings.md lists under Bounds. What is left out has the default of the code.')
param bounds object = {
  TOLLGATE_MAX_BODY_BYTES: 1048576
  TOLLGATE_MAX_OUTPUT_TOKENS: 4096
  TOLLGATE_STORE_DEADLINE_MS: 2000
  TOLLGATE_CACHE_DEADLINE_MS: 50
  TOLLGATE_CONNECT_MS: 4000
  TOLLGATE_FIRST_BYTE_MS: 120000
  TOLLGATE_TOTAL_MS: 200000
  TOLLGATE_IDLE_MS: 120000
  TOLLGATE_STREAM_TOTAL_MS: 1800000
}

@description('HMAC secret for cache keys and prompt hashes. It is put into the vault if none is there, and never changed by a later deployment. Left out: one is made.')
@secure()
@minLength(16)
param cacheSecret string = newGuid()

// ---- The model

@description('The model: new makes an Azure OpenAI account, existing uses one, none leaves it to openAiBaseUrl, openAiApiKey or the policy.')
@allowed([
  'new'
  'existing'
  'none'
])
param openAi string = 'new'

@description('Resource id of the Azure OpenAI account, if openAi is existing. It may be in another resource group. It must have a custom subdomain, since tokens need one.')
param openAiResourceId string = ''

@description('Deployments of a new account: name, model, version, sku (GlobalStandard, Standard …) and capacity in thousands of tokens a minute. No model is the default, since models retire: docs/deploy.md says how to choose one.')
param openAiDeployments array = []

@description('Model, or Azure deployment, of requests that name none. Empty: the first of openAiDeployments, if openAi is new; else the default of the code.')
param openAiModelName string = ''

@description('A dated version of the Azure OpenAI API. Empty: /openai/v1/.')
param openAiApiVersion string = ''

@description('URL of any other OpenAI-compatible server, if openAi is none.')
param openAiBaseUrl string = ''

@description('Key of a model that takes no Entra token. It is put into the vault at each deployment that names it.')
@secure()
param openAiApiKey string = ''

@description('Whether a key that an earlier deployment put into the vault is used when openAiApiKey is left out.')
param keepOpenAiApiKey bool = false

// ---- Redis

@description('Whether an Azure Managed Redis keeps counters and completions instead of the tables. It is paid for all the time.')
param redis bool = false

@description('Size of the Redis.')
@allowed([
  'Balanced_B0'
  'Balanced_B1'
  'Balanced_B3'
  'Balanced_B5'
  'Balanced_B10'
])
param redisSku string = 'Balanced_B0'

@description('Whether the Redis has a replica. Without one, its maintenance is an outage, and counters may be lost.')
param redisReplica bool = true

// ---- The network

@description('Whether storage, vault, Redis and a new model are reached by private endpoints only. The app stays public. Each endpoint is paid for.')
param privateNetwork bool = false

@description('Address range of the virtual network.')
param vnetAddressPrefix string = '10.40.0.0/16'

@description('Its part for the app. It can\'t be changed while the app is there.')
param appSubnetPrefix string = '10.40.0.0/24'

@description('Its part for the private endpoints.')
param endpointSubnetPrefix string = '10.40.1.0/24'

// ---- Logs, alerts and money

@description('How long logs are kept, in days. The first 31 are in the price of their ingestion.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

@description('The most logs, spans and metrics a day, in GB: 1 is some 130,000 requests, or 500,000 without appTelemetry. What is over it is lost, and so are the alerts on it, until the next day.')
@minValue(1)
@maxValue(1000)
param logDailyCapGb int = 1

@description('Whether the app itself sends spans and metrics to Application Insights, beside what the host writes. They count to logDailyCapGb. false: TOLLGATE_APPLICATION_INSIGHTS=off.')
param appTelemetry bool = true

@description('Where alerts and the cost budget are sent. Empty: neither is made.')
param alertEmail string = ''

@description('An alert: answers with 5xx in 5 minutes, more than this.')
@minValue(0)
param alertServerErrors int = 5

@description('An alert: per cent of the requests of 15 minutes that were refused with 429, more than this. Fewer than 20 requests never raise it.')
@minValue(0)
@maxValue(100)
param alertRefusedPercent int = 20

@description('An alert: US dollars an hour that models cost by the policy\'s prices, more than this. Without prices there is nothing to add up.')
@minValue(0)
param alertSpendUsdPerHour int = 5

@description('An alert: per cent of the calls of 15 minutes to one model that failed, more than this. Fewer than 20 calls never raise it.')
@minValue(0)
@maxValue(100)
param alertUpstreamFailedPercent int = 20

@description('An alert: calls that storage throttled in 15 minutes, of one kind of throttling, more than this.')
@minValue(0)
param alertThrottledCalls int = 10

@description('Cost budget of this resource group for a month, in the currency of the bill. Mails go out at 80 % and 100 %; nothing is switched off. It is made once, and not changed by a later deployment. 0: none.')
@minValue(0)
param monthlyBudget int = 0

// ---- People

@description('Object id of a person, group or service principal who may make consumers and keys, which live in the tables. Empty: nobody.')
param operatorPrincipalId string = ''

@description('What operatorPrincipalId is.')
@allowed([
  'User'
  'Group'
  'ServicePrincipal'
])
param operatorPrincipalType string = 'User'

// ---- Resources

var token = toLower(uniqueString(subscription().id, resourceGroup().id, environmentName))
var allTags = union(tags, { 'azd-env-name': environmentName })

// Known before anything is deployed, so that endpoints and settings can be made from them, and what-if can tell what would
// become of resources that are named by them. A module that takes such a name waits for the resource by its dependsOn.
var storageName = 'st${token}'
var vaultName = 'kv-${token}'
var openAiName = 'oai-${token}'
var redisName = 'redis-${token}'
var insightsName = 'appi-${token}'
var networkName = 'vnet-${token}'
var vaultUri = 'https://${vaultName}${environment().suffixes.keyvaultDns}/'

var newOpenAi = openAi == 'new'
var existingOpenAi = openAi == 'existing'
var hasOpenAiKey = !empty(openAiApiKey) || keepOpenAiApiKey
var watched = !empty(alertEmail)

// A template that isn't used is read all the same, so the parts of an empty id must be there: the group's own id has them.
var openAiIdParts = split(existingOpenAi ? openAiResourceId : resourceGroup().id, '/')

module identity 'modules/identity.bicep' = {
  params: {
    name: 'id-${token}'
    location: location
    tags: allTags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  params: {
    workspaceName: 'log-${token}'
    insightsName: insightsName
    location: location
    tags: allTags
    retentionDays: logRetentionDays
    dailyCapGb: logDailyCapGb
  }
}

module storage 'modules/storage.bicep' = {
  params: {
    name: storageName
    location: location
    tags: allTags
    publicAccess: !privateNetwork
  }
}

module vault 'modules/vault.bicep' = {
  params: {
    name: vaultName
    location: location
    tags: allTags
    publicAccess: !privateNetwork
    cacheSecret: cacheSecret
    openAiApiKey: openAiApiKey
  }
}

module model 'modules/open-ai.bicep' = if (newOpenAi) {
  params: {
    name: openAiName
    location: location
    tags: allTags
    publicAccess: !privateNetwork
    deployments: openAiDeployments
  }
}

module foundModel 'modules/existing-open-ai.bicep' = if (existingOpenAi) {
  scope: resourceGroup(openAiIdParts[2], openAiIdParts[4])
  params: {
    name: last(openAiIdParts)
  }
}

module redisCache 'modules/redis.bicep' = if (redis) {
  params: {
    name: redisName
    location: location
    tags: allTags
    publicAccess: !privateNetwork
    sku: redisSku
    replica: redisReplica
    vaultName: vaultName
  }
  dependsOn: [
    vault
  ]
}

module network 'modules/network.bicep' = if (privateNetwork) {
  params: {
    name: networkName
    location: location
    tags: allTags
    addressPrefix: vnetAddressPrefix
    appSubnetPrefix: appSubnetPrefix
    endpointSubnetPrefix: endpointSubnetPrefix
  }
}

var storageSuffix = environment().suffixes.storage
var storageId = resourceId('Microsoft.Storage/storageAccounts', storageName)
var storageEndpoints = [
  { name: 'blob', group: 'blob', zone: 'privatelink.blob.${storageSuffix}', target: storageId }
  { name: 'queue', group: 'queue', zone: 'privatelink.queue.${storageSuffix}', target: storageId }
  { name: 'table', group: 'table', zone: 'privatelink.table.${storageSuffix}', target: storageId }
]
var vaultEndpoints = [
  {
    name: 'vault'
    group: 'vault'
    zone: 'privatelink.vaultcore.azure.net'
    target: resourceId('Microsoft.KeyVault/vaults', vaultName)
  }
]
var openAiEndpoints = [
  {
    name: 'openai'
    group: 'account'
    zone: 'privatelink.openai.azure.com'
    target: resourceId('Microsoft.CognitiveServices/accounts', openAiName)
  }
]
var redisEndpoints = [
  {
    name: 'redis'
    group: 'redisEnterprise'
    zone: 'privatelink.redis.azure.net'
    target: resourceId('Microsoft.Cache/redisEnterprise', redisName)
  }
]
var wantedEndpoints = concat(
  storageEndpoints,
  vaultEndpoints,
  newOpenAi ? openAiEndpoints : [],
  redis ? redisEndpoints : []
)
var endpoints = privateNetwork ? wantedEndpoints : []

// A storage account, and a subnet, take one endpoint at a time.
@batchSize(1)
module privateEndpoints 'modules/private-endpoint.bicep' = [for endpoint in endpoints: {
  params: {
    name: 'pe-${endpoint.name}-${token}'
    location: location
    tags: allTags
    vnetId: resourceId('Microsoft.Network/virtualNetworks', networkName)
    subnetId: network!.outputs.endpointSubnetId
    targetId: endpoint.target
    group: endpoint.group
    zone: endpoint.zone
  }
  dependsOn: [
    storage
    vault
    model
    redisCache
  ]
}]

module roles 'modules/roles.bicep' = {
  params: {
    #disable-next-line what-if-short-circuiting // A role's name is made from it, since an identity made anew is another one.
    principalId: identity.outputs.principalId
    storageName: storageName
    insightsName: insightsName
    vaultName: vaultName
    openAiName: newOpenAi ? openAiName : ''
    operatorPrincipalId: operatorPrincipalId
    operatorPrincipalType: operatorPrincipalType
  }
  dependsOn: [
    storage
    monitoring
    vault
    model
  ]
}

// In the group of that account, where whoever deploys must be allowed to give roles.
module modelRole 'modules/roles.bicep' = if (existingOpenAi) {
  scope: resourceGroup(openAiIdParts[2], openAiIdParts[4])
  params: {
    #disable-next-line what-if-short-circuiting // A role's name is made from it, since an identity made anew is another one.
    principalId: identity.outputs.principalId
    openAiName: last(openAiIdParts)
  }
}

module app 'modules/app.bicep' = {
  params: {
    name: 'func-${token}'
    planName: 'plan-${token}'
    location: location
    tags: allTags
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    storageName: storageName
    deploymentContainer: storage.outputs.deploymentContainer
    insightsName: insightsName
    vaultUri: vaultUri
    subnetId: privateNetwork ? network!.outputs.appSubnetId : ''
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    alwaysReadyInstances: alwaysReadyInstances
    httpConcurrency: httpConcurrency
    siteUpdateStrategy: siteUpdateStrategy
    corsOrigins: corsOrigins
    policyPath: policyPath
    targetHosts: targetHosts
    trustEasyAuth: trustEasyAuth
    policyVariables: policyVariables
    bounds: bounds
    appTelemetry: appTelemetry
    openAiEndpoint: newOpenAi ? model!.outputs.endpoint : (existingOpenAi ? foundModel!.outputs.endpoint : '')
    openAiBaseUrl: openAiBaseUrl
    openAiModelName: empty(openAiModelName) && newOpenAi && !empty(openAiDeployments) ? openAiDeployments[0].name : openAiModelName
    openAiApiVersion: openAiApiVersion
    openAiKeySecretName: hasOpenAiKey ? vault.outputs.openAiKeySecretName : ''
    cacheSecretName: vault.outputs.cacheSecretName
    redisSecretName: redis ? redisCache!.outputs.secretName : ''
  }
  // It reads its package, its tables and its secrets as soon as it starts.
  dependsOn: [
    roles
    modelRole
    privateEndpoints
  ]
}

module alerts 'modules/alerts.bicep' = if (watched) {
  params: {
    token: token
    location: location
    tags: allTags
    email: alertEmail
    appId: app.outputs.id
    storageId: storage.outputs.id
    workspaceId: monitoring.outputs.workspaceId
    serverErrors: alertServerErrors
    refusedPercent: alertRefusedPercent
    spendUsdPerHour: alertSpendUsdPerHour
    upstreamFailedPercent: alertUpstreamFailedPercent
    throttledCalls: alertThrottledCalls
  }
}

module budget 'modules/budget.bicep' = if (watched && monthlyBudget > 0) {
  params: {
    name: 'budget-${token}'
    amount: monthlyBudget
    email: alertEmail
  }
}

// ---- Outputs: names and addresses, and no secret

@description('Name of the Function app, for `func azure functionapp publish`.')
output appName string = app.outputs.name

@description('Host name of the Function app.')
output appHostName string = app.outputs.hostName

@description('Resource id of the Function app.')
output appId string = app.outputs.id

@description('Client id of the identity by which the app reaches everything else.')
output identityClientId string = identity.outputs.clientId

@description('What TOLLGATE_STORAGE is for whoever makes consumers and keys.')
output tableEndpoint string = storage.outputs.tableEndpoint

@description('Name of the storage account.')
output storageName string = storage.outputs.name

@description('Name of the vault.')
output vaultName string = vault.outputs.name

@description('Resource id of the workspace that holds the logs.')
output workspaceId string = monitoring.outputs.workspaceId
