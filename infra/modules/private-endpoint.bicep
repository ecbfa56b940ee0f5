/* One private endpoint, and the DNS zone by which the app finds it under the usual name. */

@description('Name of the endpoint.')
param name string

@description('Azure region.')
param location string

@description('Tags.')
param tags object

@description('Resource id of the virtual network.')
param vnetId string

@description('Resource id of the subnet.')
param subnetId string

@description('Resource id of what is reached by it.')
param targetId string

@description('Which part of it, by the platform\'s name, such as blob, vault or account.')
param group string

@description('The DNS zone.')
param zone string

resource endpoint 'Microsoft.Network/privateEndpoints@2025-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    subnet: {
      id: subnetId
    }
    privateLinkServiceConnections: [
      {
        name: group
        properties: {
          privateLinkServiceId: targetId
          groupIds: [
            group
          ]
        }
      }
    ]
  }
}

resource dns 'Microsoft.Network/privateDnsZones@2020-06-01' = {
  name: zone
  location: 'global'
  tags: tags
}

resource link 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2020-06-01' = {
  parent: dns
  // Two environments in one resource group share the zone, and each links its own network.
  name: last(split(vnetId, '/'))
  location: 'global'
  tags: tags
  properties: {
    registrationEnabled: false
    virtualNetwork: {
      id: vnetId
    }
  }
}

resource records 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-05-01' = {
  parent: endpoint
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      {
        name: group
        properties: {
          privateDnsZoneId: dns.id
        }
      }
    ]
  }
}
