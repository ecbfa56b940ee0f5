import { memoryTable, type TableName } from '@tollgate/middleware'
import { afterAll, describe } from 'vitest'
import { unique } from '../support/consumers.ts'
import { tableAccounts, tableClient } from '../support/tables.ts'
import { tableConforms } from './table.ts'

describe('a table in memory', () => tableConforms(() => memoryTable()))

for (const { name, connection, open } of tableAccounts()) {
  describe(`a table of ${name}`, () => {
    const tableName = `tables${unique('x').replaceAll('-', '')}` as TableName
    afterAll(() => tableClient(connection, tableName).deleteTable())
    tableConforms(() => open(tableName))
  })
}
