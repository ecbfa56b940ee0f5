import { createRequire } from 'node:module'
import type { TestProject } from 'vitest/node'

declare module 'vitest' {
  export interface ProvidedContext {
    /** Connection string of an Azurite that all test files share; each uses names of its own. */
    azurite: string
  }
}

const ACCOUNT = 'tollgatetest'
const KEY = Buffer.from('a key for tests').toString('base64')

/** One Azurite table service, in memory, for the whole run. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  process.env.AZURITE_ACCOUNTS = `${ACCOUNT}:${KEY}`
  const require = createRequire(import.meta.url)
  const { default: Configuration } = require('azurite/dist/src/table/TableConfiguration')
  const { default: Server } = require('azurite/dist/src/table/TableServer')
  const noLog = [false, false, undefined, undefined]
  const anyApiVersion = [false, true]
  const server = new Server(
    new Configuration('127.0.0.1', 0, 5, 'unused', ...noLog, ...anyApiVersion, '', '', '', undefined, false, true),
  )
  await server.start()
  const url = `${server.getHttpServerAddress()}/${ACCOUNT}`
  project.provide(
    'azurite',
    `DefaultEndpointsProtocol=http;AccountName=${ACCOUNT};AccountKey=${KEY};TableEndpoint=${url};`,
  )
  return () => server.close()
}
