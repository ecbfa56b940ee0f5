import { resolve } from 'node:path'
import { type StorageLocation, storageLocation } from '@tollgate/middleware'
import { attachAzurite } from './azurite/attach.ts'

/** The tables that a command or the host works on. */
export interface OpenedStorage {
  readonly location: StorageLocation
  /** What a person is told of them. */
  readonly text: string
  /** Where they are our own Azurite's: its folder. `undefined` for storage that the user configured. */
  readonly folder: string | undefined
  /** Calls back when our Azurite has ended by itself; never for storage that the user configured. */
  onLost(callback: () => void): void
  release(): void
}

/**
 * The storage that the environment names; where it names none, our own Azurite, started if need be, which is then put
 * into the environment for the app. Its folder is `.azurite/`, or what `TOLLGATE_LOCAL_DATA` says.
 */
export async function openStorage(root: string, env: NodeJS.ProcessEnv): Promise<OpenedStorage> {
  const configured = storageLocation(env)
  if (configured !== undefined) {
    return { location: configured, text: describe(configured), folder: undefined, onLost: () => {}, release: () => {} }
  }
  const name = env.TOLLGATE_LOCAL_DATA || '.azurite'
  const folder = resolve(root, name)
  const azurite = await attachAzurite(folder)
  env.TOLLGATE_STORAGE = azurite.connectionString
  return {
    location: { kind: 'connection-string', connectionString: azurite.connectionString, loopback: true },
    text: `Azurite on ${azurite.url}, kept in ${name} (saved every 5 s)`,
    folder,
    onLost: azurite.onLost,
    release: azurite.release,
  }
}

function describe(location: StorageLocation): string {
  if (location.kind === 'memory') return 'in memory, gone when this process ends'
  if (location.kind === 'identity') return `${location.endpoint} (by identity)`
  const [, account] = /(?:^|;)\s*AccountName=([a-z0-9]{1,24})(?:;|$)/i.exec(location.connectionString) ?? []
  return account === undefined
    ? 'the storage account of the configured connection string'
    : `the storage account '${account}', by the configured connection string`
}
