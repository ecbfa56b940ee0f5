import type { TokenSource } from './client.ts'

const SCOPE = 'https://cognitiveservices.azure.com/.default'

/**
 * Entra tokens of the app's managed identity, or of the developer's own sign-in. The SDK caches and renews them,
 * and is loaded when the first is needed.
 *
 * @param clientId of a user-assigned identity; `undefined` for the system's.
 */
export function azureToken(clientId: string | undefined): TokenSource {
  let provider: Promise<TokenSource> | undefined

  async function open(): Promise<TokenSource> {
    const { DefaultAzureCredential, getBearerTokenProvider } = await import('@azure/identity')
    const options = clientId === undefined ? {} : { managedIdentityClientId: clientId }
    return getBearerTokenProvider(new DefaultAzureCredential(options), SCOPE)
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
