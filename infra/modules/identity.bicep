/* The app's identity, by which it reaches storage, vault, logs and model without a key. */

@description('Name of the identity.')
param name string

@description('Azure region.')
param location string

@description('Tags.')
param tags object

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
  tags: tags
}

@description('Resource id.')
output id string = identity.id

@description('Client id, which the app names when it asks for a token.')
output clientId string = identity.properties.clientId

@description('Object id, which roles are given to.')
output principalId string = identity.properties.principalId
