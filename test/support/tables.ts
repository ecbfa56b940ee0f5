import { type OpenTable, openTables, storageLocation } from '@tollgate/middleware'
import { inject } from 'vitest'

/** Accounts that a store's tests run against: Azurite, and a real one where `TOLLGATE_TEST_STORAGE` names it. */
export function tableAccounts(): { readonly name: string; readonly open: OpenTable }[] {
  const real = process.env.TOLLGATE_TEST_STORAGE
  return [
    { name: 'Azurite', open: openAccount(inject('azurite')) },
    ...(real ? [{ name: 'TOLLGATE_TEST_STORAGE', open: openAccount(real) }] : []),
  ]
}

export function openAccount(connection: string): OpenTable {
  const location = storageLocation({ TOLLGATE_STORAGE: connection })
  if (location === undefined || location.kind === 'memory') throw new Error('This is no table storage')
  return openTables(location)
}
