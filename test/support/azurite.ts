import { createRequire } from 'node:module'

const ACCOUNT = 'tollgatetest'
const KEY = Buffer.from('a key for tests').toString('base64')

export interface Azurite {
  readonly connectionString: string
  close(): Promise<void>
}

/** Azurite's table service in this process, in memory. */
export async function startAzurite(): Promise<Azurite> {
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
  return {
    connectionString: `DefaultEndpointsProtocol=http;AccountName=${ACCOUNT};AccountKey=${KEY};TableEndpoint=${url};`,
    close: () => server.close(),
  }
}
