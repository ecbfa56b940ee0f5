/*
 * The few secrets that there are. Access is by role only. A deleted vault keeps its name until it is purged, and is not
 * purged before 90 days: recover it rather than make it anew.
 */

@description('Name of the vault.')
@minLength(3)
@maxLength(24)
param name string

@description('Azure region.')
param location string

@description('Tags.')
param tags object

@description('Whether it is reached from outside the virtual network.')
param publicAccess bool

@description('HMAC secret for cache keys, for a vault that holds none.')
@secure()
param cacheSecret string

@description('Key of a model that takes no Entra token. Empty: what is in the vault stays.')
@secure()
param openAiApiKey string

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: subscription().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    networkAcls: {
      defaultAction: publicAccess ? 'Allow' : 'Deny'
      // The deployment itself writes the secrets, from outside the virtual network.
      bypass: 'AzureServices'
    }
  }
}

// Another secret would empty the cache, and the parameter is another one each time.
@onlyIfNotExists()
resource storedCacheSecret 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = {
  parent: vault
  name: 'cache-secret'
  properties: {
    value: cacheSecret
  }
}

resource storedOpenAiKey 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = if (!empty(openAiApiKey)) {
  parent: vault
  name: 'openai-api-key'
  properties: {
    value: openAiApiKey
  }
}

@description('Name of the vault.')
output name string = vault.name

@description('Name of the secret that holds the cache secret.')
output cacheSecretName string = storedCacheSecret.name

@description('Name of the secret that holds the model\'s key, whether or not it is there.')
output openAiKeySecretName string = storedOpenAiKey.name
