import { openStorage } from '@tollgate/local-host'
import { type ConsumerStore, openTables, tableConsumerStore } from '@tollgate/middleware'
import { CommandFault } from './command-fault.ts'

/** Where a command works: the app's folder and its settings. */
export interface Place {
  readonly root: string
  readonly env: NodeJS.ProcessEnv
}

/** Runs a command's work on the consumers and keys that the gateway reads. @throws CommandFault where nobody shares them. */
export async function withConsumers<T>({ root, env }: Place, work: (store: ConsumerStore) => Promise<T>): Promise<T> {
  const storage = await openStorage(root, env)
  try {
    if (storage.location.kind === 'memory') {
      throw new CommandFault("TOLLGATE_STORAGE is 'memory:', which no other process can reach. Keys need tables.")
    }
    return await work(tableConsumerStore(openTables(storage.location)))
  } finally {
    storage.release()
  }
}
