import { bodyOf, of, place, propertiesOf, type Template, within } from './template.ts'

/** Types and versions that are known to be there. A typo in one would show at deployment only. */
const TYPES: ReadonlySet<string> = new Set([
  'Microsoft.Web/sites@2025-03-01',
  'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01',
  'Microsoft.Web/serverfarms@2025-03-01',
  'Microsoft.Storage/storageAccounts@2025-06-01',
  'Microsoft.Storage/storageAccounts/blobServices@2025-06-01',
  'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01',
  'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30',
  'Microsoft.Insights/components@2020-02-02',
  'Microsoft.OperationalInsights/workspaces@2025-07-01',
  'Microsoft.CognitiveServices/accounts@2025-06-01',
  'Microsoft.CognitiveServices/accounts/deployments@2025-06-01',
  'Microsoft.KeyVault/vaults@2024-11-01',
  'Microsoft.KeyVault/vaults/secrets@2024-11-01',
  'Microsoft.Network/virtualNetworks@2025-05-01',
  'Microsoft.Network/privateEndpoints@2025-05-01',
  'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-05-01',
  'Microsoft.Network/privateDnsZones@2020-06-01',
  'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2020-06-01',
  'Microsoft.Insights/metricAlerts@2018-03-01',
  // The type definitions of Azure/bicep-types-az hold these four; Redis of this version needs publicNetworkAccess.
  'Microsoft.Insights/scheduledQueryRules@2023-12-01',
  'Microsoft.Insights/actionGroups@2023-01-01',
  'Microsoft.Consumption/budgets@2024-08-01',
  'Microsoft.Cache/redisEnterprise@2025-07-01',
  'Microsoft.Cache/redisEnterprise/databases@2025-07-01',
  // The version of role assignments that Azure Verified Modules use.
  'Microsoft.Authorization/roleAssignments@2022-04-01',
])

/** Built-in roles by id, and why the least that is enough is not less. */
const ROLES: Readonly<Record<string, string>> = {
  'b7e6dc6d-f1e8-4753-8033-0f276bb0955b': 'Storage Blob Data Owner: the host leases blobs and keeps its keys in them',
  '974c5e8b-45b9-4653-ba55-5f855dd0fb88': 'Storage Queue Data Contributor: the host',
  '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3': 'Storage Table Data Contributor: Tollgate makes its tables itself',
  '3913510d-42f4-4e42-8a64-420c390055eb': 'Monitoring Metrics Publisher',
  '5e0bd9bd-7b93-4f28-af87-19fc36ad61bd': 'Cognitive Services OpenAI User',
  '4633458b-17de-408a-b874-0445c86b69e6': 'Key Vault Secrets User',
}
const GUID = /\b[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}\b/gi
const ROLE_FILE = 'infra/modules/roles.bicep'

/** What a Flex Consumption app refuses in `siteConfig` (ARM error 51021), or has no use for. */
const REFUSED_BY_FLEX = [
  ...['ftpsState', 'linuxFxVersion', 'windowsFxVersion', 'netFrameworkVersion', 'use32BitWorkerProcess', 'alwaysOn'],
  ...['preWarmedInstanceCount', 'functionAppScaleLimit', 'functionsRuntimeScaleMonitoringEnabled', 'healthCheckPath'],
]

export function versionFaults(template: Template): string[] {
  return of(template, 'resource')
    .filter(({ target = '' }) => !TYPES.has(target))
    .map(({ node, target }) => `${place(template, node)}: unknown ${target}`)
}

export function roleFaults(template: Template): string[] {
  const ids = template.text.match(GUID) ?? []
  const assignments = of(template, 'resource').filter(({ target }) => target?.includes('/roleAssignments@'))
  const unscoped = assignments.filter(
    (assignment) => !propertiesOf(bodyOf(assignment)).some(({ name }) => name === 'scope'),
  )
  return [
    ...ids.filter((id) => !(id.toLowerCase() in ROLES)).map((id) => `${template.file}: unknown role ${id}`),
    ...(template.file === ROLE_FILE ? [] : assignments).map(
      ({ node }) => `${place(template, node)}: a role outside ${ROLE_FILE}`,
    ),
    ...unscoped.map(({ node }) => `${place(template, node)}: a role for the whole group`),
  ]
}

export function flexFaults(template: Template): string[] {
  return [...within(template.root)]
    .filter(
      ({ type, text, parent }) =>
        type === 'identifier' && parent?.type === 'object_property' && REFUSED_BY_FLEX.includes(text),
    )
    .map((node) => `${place(template, node)}: ${node.text} is refused`)
}
