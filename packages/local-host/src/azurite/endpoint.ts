import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** How a running Azurite is found, in .azurite/endpoint.json (mode 0600). */
export interface AzuriteEndpoint {
  readonly pid: number
  readonly connectionString: string
  /** The table service's address, for people to read. */
  readonly url: string
  /** Port on 127.0.0.1 where whoever uses the tables holds a connection for as long as it needs them. */
  readonly holdPort: number
  /** Sent first on that connection, so that a port reused by another program is not mistaken for Azurite. */
  readonly token: string
}

export function endpointFile(folder: string): string {
  return join(folder, 'endpoint.json')
}

/** `undefined` where none is written, or only in part. */
export function readEndpoint(folder: string): AzuriteEndpoint | undefined {
  try {
    return JSON.parse(readFileSync(endpointFile(folder), 'utf8'))
  } catch {
    return undefined
  }
}
