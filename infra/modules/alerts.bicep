/*
 * What is worth a mail. The platform counts answers and throttled calls. Refusals and money stand in Tollgate's own log:
 * one JSON text a request, which a trace's Message holds. Traces are sampled under load, and ItemCount tells for how many
 * each stands. A request whose client has left stands there with status 499: no alert counts it.
 */

@description('What names end in.')
param token string

@description('Azure region.')
param location string

@description('Tags.')
param tags object

@description('Who is told.')
param email string

@description('Resource id of the Function app.')
param appId string

@description('Resource id of the storage account.')
param storageId string

@description('Resource id of the workspace that holds the logs.')
param workspaceId string

@description('Answers with 5xx in 5 minutes.')
param serverErrors int

@description('Per cent of the requests of 15 minutes that were refused with 429.')
param refusedPercent int

@description('US dollars an hour that models cost.')
param spendUsdPerHour int

@description('Per cent of the calls of 15 minutes to one model that failed.')
param upstreamFailedPercent int

@description('Calls that storage throttled in 15 minutes.')
param throttledCalls int

var serverErrorsQuery = '''
AppTraces
| where Message contains '"event":"request"'
| extend line = parse_json(substring(Message, indexof(Message, '{')))
| where line.event == 'request' and toint(line.status) >= 500
| summarize Errors = sum(ItemCount)
'''

var refusedQuery = '''
AppTraces
| where Message contains '"event":"request"'
| extend line = parse_json(substring(Message, indexof(Message, '{')))
| where line.event == 'request' and toint(line.status) != 499
| summarize Requests = sum(ItemCount), Refused = sumif(ItemCount, toint(line.status) == 429)
| where Requests >= 20
| project RefusedPercent = 100.0 * Refused / Requests
'''

// Calls of requests that had left cost too, and have a line of their own.
var spendQuery = '''
AppTraces
| where Message contains '"costNanoUsd":'
| extend line = parse_json(substring(Message, indexof(Message, '{')))
| where isnotnull(line.costNanoUsd)
| summarize Usd = sum(tolong(line.costNanoUsd) * ItemCount) / 1e9
'''

// Of each model, what was asked of its service: it told what that took, or failed. What it turns away for what a caller asks
// (400) is answered with that, and counts as no failure.
var upstreamQuery = '''
AppTraces
| where Message contains '"event":"request"'
| extend line = parse_json(substring(Message, indexof(Message, '{')))
| where line.event == 'request' and toint(line.status) != 499 and (isnotnull(line.usage) or isnotnull(line.upstream))
| summarize
    Calls = sum(ItemCount),
    Failed = sumif(ItemCount, isnotnull(line.upstream) and (toint(line.status) >= 500 or line.stream == 'broken'))
    by Model = tostring(line.model)
| where Calls >= 20
| project Model, FailedPercent = 100.0 * Failed / Calls
'''

// A defect in the code, Tollgate's or a store's.
var faultsQuery = '''
AppTraces
| where Message contains '"event":"fault"'
| extend line = parse_json(substring(Message, indexof(Message, '{')))
| where line.event == 'fault'
| summarize Faults = sum(ItemCount)
'''

// What /api/usage and the metrics lack from then on, or will, if the tables stay away.
var usageQuery = '''
AppTraces
| where Message contains '"event":"usage '
| extend line = parse_json(substring(Message, indexof(Message, '{')))
| where tostring(line.event) in ('usage lost', 'usage not written')
| summarize Lines = sum(ItemCount)
'''

// An alert is split by these columns: one for each of their values.
var logAlerts = [
  {
    name: 'server-errors'
    title: 'Tollgate answers with 5xx'
    severity: 1
    query: serverErrorsQuery
    column: 'Errors'
    threshold: serverErrors
    window: 'PT5M'
    frequency: 'PT5M'
    splitBy: []
  }
  {
    name: 'refusals'
    title: 'Tollgate refuses many requests with 429'
    severity: 3
    query: refusedQuery
    column: 'RefusedPercent'
    threshold: refusedPercent
    window: 'PT15M'
    frequency: 'PT5M'
    splitBy: []
  }
  {
    name: 'spend'
    title: 'Models cost more an hour than is usual'
    severity: 2
    query: spendQuery
    column: 'Usd'
    threshold: spendUsdPerHour
    window: 'PT1H'
    frequency: 'PT15M'
    splitBy: []
  }
  {
    name: 'upstream'
    title: 'Calls to a model fail'
    severity: 1
    query: upstreamQuery
    column: 'FailedPercent'
    threshold: upstreamFailedPercent
    window: 'PT15M'
    frequency: 'PT5M'
    splitBy: ['Model']
  }
  {
    name: 'faults'
    title: 'A defect showed in Tollgate'
    severity: 1
    query: faultsQuery
    column: 'Faults'
    threshold: 0
    window: 'PT15M'
    frequency: 'PT15M'
    splitBy: []
  }
  {
    name: 'usage'
    title: 'Usage is not written, or lost'
    severity: 2
    query: usageQuery
    column: 'Lines'
    threshold: 0
    window: 'PT15M'
    frequency: 'PT15M'
    splitBy: []
  }
]

resource mail 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'ag-${token}'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'tollgate'
    enabled: true
    emailReceivers: [
      {
        name: 'mail'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

resource onLogs 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for alert in logAlerts: {
  name: 'alert-${alert.name}-${token}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: alert.title
    severity: alert.severity
    enabled: true
    scopes: [
      workspaceId
    ]
    windowSize: alert.window
    evaluationFrequency: alert.frequency
    autoMitigate: true
    // The table comes with the first line, which is later than this.
    skipQueryValidation: true
    criteria: {
      allOf: [
        {
          query: alert.query
          metricMeasureColumn: alert.column
          timeAggregation: 'Maximum'
          operator: 'GreaterThan'
          threshold: alert.threshold
          dimensions: map(alert.splitBy, column => {
            name: column
            operator: 'Include'
            values: ['*']
          })
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    actions: {
      actionGroups: [
        mail.id
      ]
    }
  }
}]

// Sees also what never reached the app, which leaves no line in its log.
resource onAnswers 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'alert-http-5xx-${token}'
  location: 'global'
  tags: tags
  properties: {
    description: 'The app or the platform before it answers with 5xx'
    severity: 1
    enabled: true
    scopes: [
      appId
    ]
    windowSize: 'PT5M'
    evaluationFrequency: 'PT1M'
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: 'http-5xx'
          criterionType: 'StaticThresholdCriterion'
          metricNamespace: 'Microsoft.Web/sites'
          metricName: 'Http5xx'
          timeAggregation: 'Total'
          operator: 'GreaterThan'
          threshold: serverErrors
          // An app that never ran has no metrics yet.
          skipMetricValidation: true
        }
      ]
    }
    actions: [
      {
        actionGroupId: mail.id
      }
    ]
  }
}

resource onStorage 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'alert-storage-throttled-${token}'
  location: 'global'
  tags: tags
  properties: {
    description: 'Storage throttles: limits and keys are checked late, or not at all'
    severity: 2
    enabled: true
    scopes: [
      storageId
    ]
    windowSize: 'PT15M'
    evaluationFrequency: 'PT5M'
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: 'throttled'
          criterionType: 'StaticThresholdCriterion'
          metricNamespace: 'Microsoft.Storage/storageAccounts'
          metricName: 'Transactions'
          dimensions: [
            {
              name: 'ResponseType'
              operator: 'Include'
              values: [
                'ClientThrottlingError'
                'ClientAccountRequestThrottlingError'
                'ClientAccountBandwidthThrottlingError'
                'ServerBusyError'
              ]
            }
          ]
          timeAggregation: 'Total'
          operator: 'GreaterThan'
          threshold: throttledCalls
          skipMetricValidation: true
        }
      ]
    }
    actions: [
      {
        actionGroupId: mail.id
      }
    ]
  }
}
