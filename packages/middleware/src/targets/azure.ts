import * as z from 'zod'
import { endpoint, fromEnv } from './from-env.ts'
import { azureUrl, isAzureAiHost, meansV1 } from './model-url.ts'
import { NO_KEY, sdkTemplate } from './sdk-template.ts'
import { headersOf, secretHeaders } from './secret-headers.ts'
import type { TargetKind, TargetSettings } from './target-kind.ts'

export interface AzureSettings extends TargetSettings {
  readonly kind: 'azure'
  /** Without `/openai`, and all that comes after it. */
  readonly endpoint: string
  /** The deployment. */
  readonly model: string
  /** A dated API; `undefined` for `/openai/v1/`. */
  readonly apiVersion: string | undefined
  /** `undefined` for managed identity. */
  readonly key: string | undefined
  /** Secrets of the policy: names in lower case and values, by turns. */
  readonly headers?: readonly string[] | undefined
}

const document = z.strictObject({
  endpoint: endpoint.describe('https://<resource>.openai.azure.com'),
  deployment: z.string().min(1).max(128),
  apiVersion: z.string().min(1).max(64).optional().describe('A dated API; absent: /openai/v1/.'),
  key: fromEnv.optional().describe('Absent: managed identity.'),
  headers: secretHeaders,
})

/** Headers that a key, a token or the SDK sets. */
const OWN_HEADERS = ['api-key', 'authorization', 'openai-*', 'x-stainless-*']

/** A deployment of Azure OpenAI or Azure AI Foundry, asked by a key or by the app's managed identity. */
export const azure: TargetKind<z.infer<typeof document>, AzureSettings> = {
  name: 'azure',
  description: 'An Azure OpenAI deployment.',
  document,
  example: '{endpoint: {env: OPENAI_ENDPOINT}, deployment: gpt-4o-mini}',
  isKnownHost: isAzureAiHost,
  servedAs: ({ deployment }) => deployment,

  resolve({ endpoint, deployment, apiVersion, key, headers }, context) {
    const url = context.url(context.setting(endpoint, 'endpoint'))
    const secret = key && context.secret(key, 'key')
    if (secret === undefined) context.allowIdentity(url)
    // The policy's own deployment counts: several models may be read from one resource's URL.
    const { endpoint: resource, apiVersion: dated } = azureUrl(url)
    const version = apiVersion ?? dated
    return {
      kind: 'azure',
      endpoint: resource.href,
      model: deployment,
      apiVersion: version !== undefined && meansV1(version) ? undefined : version,
      key: secret,
      ...(headers && { headers: headersOf(headers, OWN_HEADERS, context) }),
    }
  },

  place: ({ endpoint, apiVersion }) => ({ url: endpoint, api: apiVersion ?? 'v1' }),

  async template({ endpoint, model, apiVersion, key, headers }, asked) {
    const base = `${endpoint.replace(/\/+$/, '')}/openai`
    const template = await sdkTemplate({
      ...asked,
      model,
      key,
      headers,
      client({ AzureOpenAI, OpenAI }, options) {
        if (apiVersion === undefined) return new OpenAI({ ...options, baseURL: `${base}/v1/`, apiKey: key ?? NO_KEY })
        const credential =
          key === undefined ? { apiKey: '', azureADTokenProvider: async () => NO_KEY } : { apiKey: key }
        return new AzureOpenAI({ ...options, ...credential, baseURL: base, apiVersion })
      },
    })
    if (key !== undefined) return template
    return { ...template, authorize: async (_body, token) => ['authorization', `Bearer ${await token()}`] }
  },
}
