/* A cost budget of the resource group. It tells, and switches nothing off. */

@description('Name of the budget.')
param name string

@description('Amount of a month, in the currency of the bill.')
param amount int

@description('First day of the month in which it begins, YYYY-MM-01.')
param start string

@description('Who is told.')
param email string

resource budget 'Microsoft.Consumption/budgets@2024-08-01' = {
  name: name
  properties: {
    category: 'Cost'
    amount: amount
    timeGrain: 'Monthly'
    timePeriod: {
      startDate: start
    }
    notifications: {
      nearlySpent: {
        enabled: true
        operator: 'GreaterThanOrEqualTo'
        threshold: 80
        thresholdType: 'Actual'
        contactEmails: [
          email
        ]
      }
      spent: {
        enabled: true
        operator: 'GreaterThanOrEqualTo'
        threshold: 100
        thresholdType: 'Actual'
        contactEmails: [
          email
        ]
      }
    }
  }
}
