/*
 * A cost budget of the resource group. It tells, and switches nothing off. Azure refuses to move the start of one that is
 * there, and the start is the month of the deployment: so one that is there is left alone, with its amount and its address.
 */

@description('Name of the budget.')
param name string

@description('Amount of a month, in the currency of the bill.')
param amount int

@description('First day of the month in which it begins, YYYY-MM-01.')
param start string = utcNow('yyyy-MM-01')

@description('Who is told.')
param email string

@onlyIfNotExists()
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
