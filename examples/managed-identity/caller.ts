import { DefaultAzureCredential, getBearerTokenProvider } from '@azure/identity'
import OpenAI, { AzureOpenAI } from 'openai'

/*
 * Calls the gateway by the caller's own identity: no key is made, stored or handed out. In Azure that is the managed identity of the
 * Function app, container or machine that this runs in; on a developer's machine, whoever is signed in (`az login`).
 */

/** The gateway's app registration, as the policy has it: `api://<its application id>`. */
export function tokens(audience: string, clientId?: string): () => Promise<string> {
  const identity = clientId === undefined ? {} : { managedIdentityClientId: clientId }
  // It keeps a token until shortly before it expires, and gets the next by itself.
  return getBearerTokenProvider(new DefaultAzureCredential(identity), `${audience}/.default`)
}

/** OpenAI's client asks for its key before each request, and sends it as `Authorization: Bearer`. */
export function openai(gateway: string, token: () => Promise<string>): OpenAI {
  return new OpenAI({ baseURL: `${gateway}/api/v1`, apiKey: token })
}

/** The same by Azure OpenAI's client. */
export function azureOpenai(gateway: string, token: () => Promise<string>): AzureOpenAI {
  return new AzureOpenAI({ endpoint: `${gateway}/api`, azureADTokenProvider: token, apiVersion: '2024-10-21' })
}

if (import.meta.main) {
  const { GATEWAY: gateway = 'http://127.0.0.1:7071', AUDIENCE: audience = '', AZURE_CLIENT_ID: clientId } = process.env
  const client = openai(gateway, tokens(audience, clientId))
  const answer = await client.chat.completions.create({
    model: 'default',
    messages: [{ role: 'user', content: 'Who am I?' }],
  })
  console.log(answer.choices[0]?.message.content)
}
