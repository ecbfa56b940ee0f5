import { TableClient } from '@azure/data-tables'
import { type OpenTable, openTables, storageLocation, type TableName } from '@tollgate/middleware'
import { inject } from 'vitest'

interface Account {
  readonly name: string
  readonly connection: string
  readonly open: OpenTable
}

/** Accounts that a store's tests run against: Azurite, and a real one where `TOLLGATE_TEST_STORAGE` names it. */
export function tableAccounts(): Account[] {
  const real = process.env.TOLLGATE_TEST_STORAGE
  const account = (name: string, connection: string) => ({ name, connection, open: openAccount(connection) })
  return [account('Azurite', inject('azurite')), ...(real ? [account('TOLLGATE_TEST_STORAGE', real)] : [])]
}

export function openAccount(connection: string): OpenTable {
  const location = storageLocation({ TOLLGATE_STORAGE: connection })
  if (location === undefined || location.kind === 'memory') throw new Error('This is no table storage')
  return openTables(location)
}

/** A table as the SDK alone shows it, for what a test does and sees behind Tollgate's back. */
export function tableClient(connection: string, table: TableName): TableClient {
  return TableClient.fromConnectionString(connection, table, {
    allowInsecureConnection: true,
    retryOptions: { maxRetries: 0 },
  })
}
