/* Logs: a workspace and an Application Insights on it. Both take Entra tokens only, so the connection string is no secret. */

@description('Name of the workspace.')
param workspaceName string

@description('Name of the Application Insights.')
param insightsName string

@description('Azure region.')
param location string

@description('Tags.')
param tags object

@description('How long logs are kept, in days.')
param retentionDays int

@description('The most logs a day, in GB.')
param dailyCapGb int

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' = {
  name: workspaceName
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionDays
    workspaceCapping: {
      dailyQuotaGb: dailyCapGb
    }
    features: {
      disableLocalAuth: true
    }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: insightsName
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    DisableLocalAuth: true
  }
}

@description('Resource id of the workspace.')
output workspaceId string = workspace.id
