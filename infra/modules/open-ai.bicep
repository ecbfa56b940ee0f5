/* An Azure OpenAI account without keys, and its deployments. */

@description('Name of the account, and its subdomain: tokens work with a subdomain only.')
param name string

@description('Azure region.')
param location string

@description('Tags.')
param tags object

@description('Whether it is reached from outside the virtual network.')
param publicAccess bool

@description('Deployments: name, model, version, sku, capacity.')
param deployments array

resource account 'Microsoft.CognitiveServices/accounts@2025-06-01' = {
  name: name
  location: location
  tags: tags
  kind: 'OpenAI'
  sku: {
    name: 'S0'
  }
  properties: {
    customSubDomainName: name
    disableLocalAuth: true
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    networkAcls: {
      defaultAction: publicAccess ? 'Allow' : 'Deny'
    }
  }
}

// An account takes one change at a time.
@batchSize(1)
resource models 'Microsoft.CognitiveServices/accounts/deployments@2025-06-01' = [for deployment in deployments: {
  parent: account
  name: deployment.name
  sku: {
    name: deployment.sku
    capacity: deployment.capacity
  }
  properties: {
    model: {
      format: 'OpenAI'
      name: deployment.model
      version: deployment.version
    }
    // A version that changes by itself would change answers under the same cache key.
    versionUpgradeOption: 'OnceCurrentVersionExpired'
  }
}]

@description('Name of the account.')
output name string = account.name

@description('Address of the account.')
output endpoint string = account.properties.endpoint
