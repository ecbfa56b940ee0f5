/*
 * The Function app on a Flex Consumption plan. No setting holds a secret: what is one stands in the vault, and the setting
 * names it.
 */

@description('Name of the app.')
param name string

@description('Name of its plan. A Flex Consumption plan holds one app.')
param planName string

@description('Azure region.')
param location string

@description('Tags.')
param tags object

@description('Resource id of the app\'s identity.')
param identityId string

@description('Client id of the app\'s identity.')
param identityClientId string

@description('Storage account of the host, the package and the tables.')
param storageName string

@description('Container of the package.')
param deploymentContainer string

@description('Application Insights.')
param insightsName string

@description('Address of the vault, with a slash at its end.')
param vaultUri string

@description('Resource id of the subnet that the app runs in. Empty: none.')
param subnetId string

@description('Memory of one instance, in MB.')
param instanceMemoryMB int

@description('The most instances at once.')
param maximumInstanceCount int

@description('Instances that are kept running for HTTP.')
param alwaysReadyInstances int

@description('Requests that one instance serves at once.')
param httpConcurrency int

@description('Recreate or RollingUpdate.')
@allowed([
  'Recreate'
  'RollingUpdate'
])
param siteUpdateStrategy string

@description('Origins that browsers may call from.')
param corsOrigins array

@description('Path of the policy document. Empty: the default of the code.')
param policyPath string

@description('Hosts that a policy may send prompts to.')
param targetHosts array

@description('Whether callers may come by App Service\'s authentication.')
param trustEasyAuth bool

@description('Variables that a policy may read, each with the name of its secret.')
param policyVariables object

@description('TOLLGATE_* settings that are whole numbers.')
param bounds object

@description('Whether the app itself sends spans and metrics to Application Insights.')
param appTelemetry bool

@description('Address of an Azure OpenAI account. Empty: none.')
param openAiEndpoint string

@description('URL of any other OpenAI-compatible server. Empty: none.')
param openAiBaseUrl string

@description('Model, or Azure deployment, of requests that name none. Empty: the default of the code.')
param openAiModelName string

@description('A dated version of the Azure OpenAI API. Empty: none.')
param openAiApiVersion string

@description('Name of the secret that holds the model\'s key. Empty: none.')
param openAiKeySecretName string

@description('Name of the secret that holds the cache secret.')
param cacheSecretName string

@description('Name of the secret that holds the URL of the Redis. Empty: none.')
param redisSecretName string

resource storage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: storageName
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

var secrets = '@Microsoft.KeyVault(SecretUri=${vaultUri}secrets/'

var hostSettings = {
  // Instances of this plan have failed to start with the addresses alone. Those hold in every cloud, and the code goes by them.
  AzureWebJobsStorage__accountName: storageName
  AzureWebJobsStorage__blobServiceUri: storage.properties.primaryEndpoints.blob
  AzureWebJobsStorage__queueServiceUri: storage.properties.primaryEndpoints.queue
  // Tollgate's own tables are there too, since TOLLGATE_STORAGE is left out.
  AzureWebJobsStorage__tableServiceUri: storage.properties.primaryEndpoints.table
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identityClientId
  APPLICATIONINSIGHTS_CONNECTION_STRING: insights.properties.ConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
}

var ownSettings = {
  AZURE_CLIENT_ID: identityClientId
  TOLLGATE_CACHE_SECRET: '${secrets}${cacheSecretName})'
}

var redisSettings = empty(redisSecretName) ? {} : { TOLLGATE_REDIS: '${secrets}${redisSecretName})' }
var policySettings = empty(policyPath) ? {} : { TOLLGATE_POLICY: policyPath }
var hostsSettings = empty(targetHosts) ? {} : { TOLLGATE_TARGET_HOSTS: join(targetHosts, ',') }
var authSettings = trustEasyAuth ? { TOLLGATE_TRUST_EASY_AUTH: 'true' } : {}
var readableSettings = empty(policyVariables) ? {} : { TOLLGATE_POLICY_ENV: join(objectKeys(policyVariables), ',') }
var secretSettings = mapValues(policyVariables, (secret) => '${secrets}${secret})')
var telemetrySettings = appTelemetry ? {} : { TOLLGATE_APPLICATION_INSIGHTS: 'off' }
var boundSettings = mapValues(bounds, (bound) => string(bound))

var endpointSettings = empty(openAiEndpoint) ? {} : { OPENAI_ENDPOINT: openAiEndpoint }
var baseUrlSettings = empty(openAiBaseUrl) ? {} : { OPENAI_BASE_URL: openAiBaseUrl }
var modelSettings = empty(openAiModelName) ? {} : { OPENAI_MODEL_NAME: openAiModelName }
var versionSettings = empty(openAiApiVersion) ? {} : { OPENAI_API_VERSION: openAiApiVersion }
var keySettings = empty(openAiKeySecretName) ? {} : { OPENAI_API_KEY: '${secrets}${openAiKeySecretName})' }

// The last wins, so no secret of a policy takes the place of another setting.
var settings = union(
  secretSettings,
  boundSettings,
  telemetrySettings,
  redisSettings,
  policySettings,
  hostsSettings,
  authSettings,
  readableSettings,
  endpointSettings,
  baseUrlSettings,
  modelSettings,
  versionSettings,
  keySettings,
  ownSettings,
  hostSettings
)

// What a Flex Consumption app refuses is left out: ftpsState, linuxFxVersion, alwaysOn, healthCheckPath. No union() here and
// in functionAppConfig, since the compiler doesn't compare what that makes with the resource's type.
var siteConfig = {
  minTlsVersion: '1.2'
  appSettings: map(items(settings), (setting) => {
    name: setting.key
    value: setting.value
  })
  cors: empty(corsOrigins) ? null : {
    allowedOrigins: corsOrigins
    supportCredentials: false
  }
}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'api' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    clientAffinityEnabled: false
    publicNetworkAccess: 'Enabled'
    // Else references to the vault are read by an identity that the app doesn't have.
    keyVaultReferenceIdentity: identityId
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    siteConfig: siteConfig
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storage.properties.primaryEndpoints.blob}${deploymentContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: {
        name: 'node'
        version: '24'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: alwaysReadyInstances == 0 ? [] : [
          {
            name: 'http'
            instanceCount: alwaysReadyInstances
          }
        ]
        triggers: {
          http: {
            perInstanceConcurrency: httpConcurrency
          }
        }
      }
      // Nothing unless it is asked for, since it is a preview. The platform documents it from API version 2024-11-01 on.
      #disable-next-line BCP037 // The compiler's types have it in no version.
      siteUpdateStrategy: siteUpdateStrategy == 'Recreate' ? null : {
        type: siteUpdateStrategy
      }
    }
  }
}

// Publishing is by Entra token, never by a password.
resource noPublishingPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'scm'
  properties: {
    allow: false
  }
}

resource noFtpPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'ftp'
  properties: {
    allow: false
  }
}

@description('Resource id.')
output id string = app.id

@description('Name of the app.')
output name string = app.name

@description('Host name of the app.')
output hostName string = app.properties.defaultHostName
