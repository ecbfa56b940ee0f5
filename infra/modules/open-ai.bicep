/* An Azure OpenAI account without keys, and its deployments. */

@description('A deployment of a model. Without a default, since any model would be retired one day.')
type deploymentType = {
  @description('Name that requests ask for.')
  name: string
  @description('Name of the model.')
  model: string
  @description('Version of the model.')
  version: string
  @description('Kind of the deployment, such as GlobalStandard or Standard.')
  sku: string
  @description('Thousands of tokens a minute.')
  @minValue(1)
  capacity: int
}

@description('Name of the account, and its subdomain: tokens work with a subdomain only.')
param name string

@description('Azure region.')
param location string

@description('Tags.')
param tags object

@description('Whether it is reached from outside the virtual network.')
param publicAccess bool

@description('Deployments, each of one model.')
param deployments deploymentType[]

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

@description('Address of the account.')
output endpoint string = account.properties.endpoint
