using './main.bicep'

// A working minimum: an app, its storage, its logs, and one small model. Everything else has a default that costs nothing,
// or next to it, while nobody calls. docs/infra.md lists all parameters.

// Under azd these two come from the environment; without it, edit them here.
param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'dev')
param location = readEnvironmentVariable('AZURE_LOCATION', 'swedencentral')

// Who may make the first consumer and its key: your own object id, `az ad signed-in-user show --query id --output tsv`.
param operatorPrincipalId = readEnvironmentVariable('AZURE_PRINCIPAL_ID', '')

// Capacity is in thousands of tokens a minute. Which models the region has:
//   az cognitiveservices model list --location swedencentral --query "[].model.{name:name, version:version}" --output table
param openAi = 'new'
param openAiDeployments = [
  {
    name: 'gpt-4.1-mini'
    model: 'gpt-4.1-mini'
    version: '2025-04-14'
    sku: 'GlobalStandard'
    capacity: 10
  }
]

// Alerts and the budget go out by mail; without an address neither is made.
param alertEmail = readEnvironmentVariable('TOLLGATE_ALERT_EMAIL', '')
param monthlyBudget = 50

// A secret is read from the environment, and never stands in this file:
//   param openAi = 'none'
//   param openAiApiKey = readEnvironmentVariable('OPENAI_API_KEY')
