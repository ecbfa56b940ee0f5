/*
 * An Azure Managed Redis for counters and completions. The app reaches it by URL and key, so the whole URL is a secret of
 * the vault, written here and seen nowhere else.
 */

@description('Name of the Redis.')
param name string

@description('Azure region.')
param location string

@description('Tags.')
param tags object

@description('Whether it is reached from outside the virtual network.')
param publicAccess bool

@description('Size.')
param sku string

@description('Whether it has a replica.')
param replica bool

@description('Name of the vault that gets its URL.')
param vaultName string

var port = 10000

resource cluster 'Microsoft.Cache/redisEnterprise@2025-07-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: sku
  }
  properties: {
    minimumTlsVersion: '1.2'
    highAvailability: replica ? 'Enabled' : 'Disabled'
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
  }
}

resource database 'Microsoft.Cache/redisEnterprise/databases@2025-07-01' = {
  parent: cluster
  name: 'default'
  properties: {
    clientProtocol: 'Encrypted'
    port: port
    // One address for all of it: the app's client follows no redirections.
    clusteringPolicy: 'EnterpriseCluster'
    // Completions have an expiry and may go. Counters have none and must stay: one that is lost is a limit that begins anew.
    evictionPolicy: 'VolatileLRU'
    accessKeysAuthentication: 'Enabled'
    persistence: {
      aofEnabled: true
      aofFrequency: '1s'
      rdbEnabled: false
    }
  }
}

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

resource url 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = {
  parent: vault
  name: 'redis-url'
  properties: {
    // The key is base64, and a slash would end the host of a URL.
    value: 'rediss://:${uriComponent(database.listKeys().primaryKey)}@${cluster.properties.hostName}:${port}'
  }
}

@description('Name of the secret that holds the URL.')
output secretName string = url.name
