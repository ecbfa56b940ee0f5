import { openStorage } from '@tollgate/local-host'
import { type OpenTable, openTables } from '@tollgate/middleware'
import { CommandFault } from './command-fault.ts'
import type { Place } from './place.ts'

/**
 * Runs a command's work on the tables that the gateway uses.
 *
 * @param what the work is about, as `Keys`, for the message
 * @param work takes the tables, and what a person is told of where they are
 * @throws CommandFault where nobody shares them.
 */
export async function withTables<T>(
  { root, env }: Place,
  what: string,
  work: (open: OpenTable, storage: string) => Promise<T>,
): Promise<T> {
  const storage = await openStorage(root, env)
  try {
    if (storage.location.kind === 'memory') {
      throw new CommandFault(`TOLLGATE_STORAGE is 'memory:', which no other process can reach. ${what} need tables.`)
    }
    return await work(openTables(storage.location), storage.text)
  } finally {
    storage.release()
  }
}
