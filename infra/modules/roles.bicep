/*
 * Every role that is given, and to whom. Each is for one resource; the template gives none elsewhere.
 * A name that is left empty gets no role.
 */

@description('Object id of the app\'s identity.')
param principalId string

@description('Storage account of the app.')
param storageName string = ''

@description('Application Insights of the app.')
param insightsName string = ''

@description('Vault of the app.')
param vaultName string = ''

@description('Azure OpenAI account of the app.')
param openAiName string = ''

@description('Object id of whoever makes consumers and keys.')
param operatorPrincipalId string = ''

@description('What that is: User, Group or ServicePrincipal.')
param operatorPrincipalType string = 'User'

// The host's locks, keys and package.
var storageBlobDataOwner = 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
// The host's own queues.
var storageQueueDataContributor = '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
// Tollgate's tables, which the app makes itself.
var storageTableDataContributor = '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
// Writing logs. Not reading them.
var monitoringMetricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'
// Reading secrets. Not writing or listing them.
var keyVaultSecretsUser = '4633458b-17de-408a-b874-0445c86b69e6'
// Asking models. Not deploying them.
var openAiUser = '5e0bd9bd-7b93-4f28-af87-19fc36ad61bd'

var storageRoles = empty(storageName) ? [] : [
  storageBlobDataOwner
  storageQueueDataContributor
  storageTableDataContributor
]

// A resource that isn't used is read all the same, and needs a name.
resource storage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: empty(storageName) ? 'none' : storageName
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: empty(insightsName) ? 'none' : insightsName
}

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: empty(vaultName) ? 'none' : vaultName
}

resource openAi 'Microsoft.CognitiveServices/accounts@2025-06-01' existing = {
  name: empty(openAiName) ? 'none' : openAiName
}

resource onStorage 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in storageRoles: {
  scope: storage
  name: guid(storage.id, principalId, role)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
  }
}]

resource onInsights 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(insightsName)) {
  scope: insights
  name: guid(insights.id, principalId, monitoringMetricsPublisher)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', monitoringMetricsPublisher)
  }
}

resource onVault 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(vaultName)) {
  scope: vault
  name: guid(vault.id, principalId, keyVaultSecretsUser)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', keyVaultSecretsUser)
  }
}

resource onOpenAi 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(openAiName)) {
  scope: openAi
  name: guid(openAi.id, principalId, openAiUser)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', openAiUser)
  }
}

resource operatorOnStorage 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(operatorPrincipalId) && !empty(storageName)) {
  scope: storage
  name: guid(storage.id, operatorPrincipalId, storageTableDataContributor)
  properties: {
    principalId: operatorPrincipalId
    principalType: operatorPrincipalType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', storageTableDataContributor)
  }
}
