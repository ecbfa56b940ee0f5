using './main.bicep'

// A working minimum: an app, its storage, its logs, and one small model. Everything else has a default that costs nothing,
// or next to it, while nobody calls. docs/infra.md lists all parameters.

// Under azd these two come from the environment; without it, edit them here.
param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'dev')
param location = readEnvironmentVariable('AZURE_LOCATION', 'swedencentral')

// Who may make the first consumer and its key: your own object id, `az ad signed-in-user show --query id --output tsv`.
// A pipeline's is a ServicePrincipal.
param operatorPrincipalId = readEnvironmentVariable('AZURE_PRINCIPAL_ID', '')
param operatorPrincipalType = readEnvironmentVariable('AZURE_PRINCIPAL_TYPE', 'User')

// Which model: without a default, since any would be retired one day. docs/deploy.md lists what the region has. Capacity is
// in thousands of tokens a minute. Where openAi is not new, leave openAiDeployments out.
param openAi = 'new'
param openAiDeployments = [
  {
    name: readEnvironmentVariable('TOLLGATE_MODEL')
    model: readEnvironmentVariable('TOLLGATE_MODEL')
    version: readEnvironmentVariable('TOLLGATE_MODEL_VERSION')
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
