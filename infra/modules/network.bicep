/* A virtual network with a part for the app and a part for private endpoints. */

@description('Name of the virtual network.')
param name string

@description('Azure region.')
param location string

@description('Tags.')
param tags object

@description('Address range of the virtual network.')
param addressPrefix string

@description('Its part for the app.')
param appSubnetPrefix string

@description('Its part for the private endpoints.')
param endpointSubnetPrefix string

resource vnet 'Microsoft.Network/virtualNetworks@2025-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: {
      addressPrefixes: [
        addressPrefix
      ]
    }
    // Here and not as resources of their own: a later deployment of the network would else take them away for a moment.
    subnets: [
      {
        name: 'app'
        properties: {
          addressPrefix: appSubnetPrefix
          delegations: [
            {
              name: 'flex'
              properties: {
                // Flex Consumption runs in a subnet of this kind, and in no other.
                serviceName: 'Microsoft.App/environments'
              }
            }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: endpointSubnetPrefix
          privateEndpointNetworkPolicies: 'Disabled'
        }
      }
    ]
  }
}

@description('Resource id of the app\'s part.')
output appSubnetId string = '${vnet.id}/subnets/app'

@description('Resource id of the endpoints\' part.')
output endpointSubnetId string = '${vnet.id}/subnets/endpoints'
