/* Looks up the address of an Azure OpenAI account that is there already, in its own resource group. */

@description('Name of the account.')
param name string

resource account 'Microsoft.CognitiveServices/accounts@2025-06-01' existing = {
  name: name
}

@description('Address of the account.')
output endpoint string = account.properties.endpoint
