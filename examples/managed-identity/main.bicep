/*
 * The gateway's app registration with a role for a plan, a caller's managed identity, and the role given to it. App registrations
 * live in Entra and not in a resource group, so this needs the Microsoft Graph extension (bicepconfig.json beside this file), and
 * whoever deploys it the rights Application.ReadWrite.All and AppRoleAssignment.ReadWrite.All.
 *
 *   az deployment group create --resource-group <group> --template-file examples/managed-identity/main.bicep
 */
extension microsoftGraphV1

@description('Region of the caller\'s identity.')
param location string = resourceGroup().location

@description('Name of the caller\'s identity. An existing one of this name in the group stays as it is.')
param callerName string = 'tollgate-caller'

@description('Name of the gateway\'s app registration. It is found again by it.')
param gatewayName string = 'tollgate'

@description('Name of the role that the policy gives a plan.')
param roleName string = 'Tollgate.Pro'

var roleId = guid(gatewayName, roleName)

resource gateway 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: gatewayName
  displayName: gatewayName
  api: {
    requestedAccessTokenVersion: 2
  }
  appRoles: [
    {
      id: roleId
      value: roleName
      displayName: roleName
      description: 'Calls models by the plan that the policy gives this role.'
      allowedMemberTypes: [
        'Application'
        'User'
      ]
      isEnabled: true
    }
  ]
}

resource gatewayPrincipal 'Microsoft.Graph/servicePrincipals@v1.0' = {
  appId: gateway.appId
  // Without a role nobody gets a token for it at all.
  appRoleAssignmentRequired: true
}

resource caller 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: callerName
  location: location
}

resource mayCall 'Microsoft.Graph/appRoleAssignedTo@v1.0' = {
  appRoleId: roleId
  principalId: caller.properties.principalId
  resourceId: gatewayPrincipal.id
}

@description('For the policy: identity.issuers[].entra.tenant.')
output tenant string = tenant().tenantId

@description('For the policy: identity.issuers[].entra.audience.')
output audience string = gateway.appId

@description('For the caller: AZURE_CLIENT_ID.')
output callerClientId string = caller.properties.clientId
