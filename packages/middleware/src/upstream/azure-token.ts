import type { HttpClient } from '@azure/core-rest-pipeline'
import { withoutProxyNearby } from '../pipeline/index.ts'
import type { TokenSource } from '../targets/index.ts'

const SCOPE = 'https://cognitiveservices.azure.com/.default'

/** The most that is read of an answer to a request for a token, in bytes, unpacked. A token has some thousands. */
const MAX_TOKEN_BYTES = 64 * 1024

/**
 * Entra tokens of the app's managed identity, or of the developer's own sign-in. The SDK caches and renews them,
 * and is loaded when the first is needed.
 *
 * @param clientId of a user-assigned identity; `undefined` for the system's.
 */
export function azureToken(clientId: string | undefined): TokenSource {
  let provider: Promise<TokenSource> | undefined

  async function open(): Promise<TokenSource> {
    const [{ DefaultAzureCredential, getBearerTokenProvider }, { createDefaultHttpClient }] = await Promise.all([
      import('@azure/identity'),
      import('./azure-pipeline.ts'),
    ])
    const httpClient = bounded(createDefaultHttpClient())
    const identity = clientId === undefined ? {} : { managedIdentityClientId: clientId }
    const credential = withoutProxyNearby(() => new DefaultAzureCredential({ httpClient, ...identity }))
    return getBearerTokenProvider(credential, SCOPE)
  }

  return async () => {
    provider ??= open().catch((error) => {
      // A failure is tried again by the next call.
      provider = undefined
      throw error
    })
    return (await provider)()
  }
}

/** The SDK's own client reads a body to its end, however long it is. */
function bounded(client: HttpClient): HttpClient {
  return {
    async sendRequest(request) {
      // Means the body of any status: it is then not read yet.
      request.streamResponseStatusCodes = new Set([Number.POSITIVE_INFINITY])
      const { readableStreamBody, ...response } = await client.sendRequest(request)
      const body = Buffer.concat(await chunksOf(readableStreamBody as AsyncIterable<Buffer> | undefined))
      return { ...response, bodyAsText: body.toString('utf8') }
    },
  }
}

async function chunksOf(body: AsyncIterable<Buffer> | undefined): Promise<Buffer[]> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of body ?? []) {
    length += chunk.length
    if (length > MAX_TOKEN_BYTES) throw new Error('The answer to a request for a token is too large')
    chunks.push(chunk)
  }
  return chunks
}
