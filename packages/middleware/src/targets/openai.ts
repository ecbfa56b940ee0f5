import * as z from 'zod'
import { endpoint, fromEnv } from './from-env.ts'
import { isAzureForm, OPENAI_HOST, openaiUrl } from './model-url.ts'
import { NO_KEY, sdkTemplate } from './sdk-template.ts'
import { headersOf, secretHeaders } from './secret-headers.ts'
import { TargetFault, type TargetKind, type TargetSettings } from './target-kind.ts'

export interface OpenAISettings extends TargetSettings {
  readonly kind: 'openai'
  readonly baseUrl: string
  /** `undefined` where the server asks for none. */
  readonly key: string | undefined
  /** Secrets of the policy: names in lower case and values, by turns. */
  readonly headers?: readonly string[] | undefined
}

const document = z.strictObject({
  baseUrl: endpoint.optional().describe('Any OpenAI-compatible server; absent: api.openai.com.'),
  model: z.string().min(1).max(128),
  key: fromEnv.optional(),
  headers: secretHeaders,
})

/** Headers that the SDK sets. */
const OWN_HEADERS = ['authorization', 'openai-*', 'x-stainless-*']

/** OpenAI, or a server that speaks its language. */
export const openai: TargetKind<z.infer<typeof document>, OpenAISettings> = {
  name: 'openai',
  description: 'OpenAI, or a server that speaks its language.',
  document,
  example: '{model: gpt-4o-mini}',
  isKnownHost: ({ hostname }) => hostname === OPENAI_HOST,
  servedAs: ({ model }) => model,

  resolve({ baseUrl = `https://${OPENAI_HOST}/v1`, model, key, headers }, context) {
    const url = context.url(context.setting(baseUrl, 'baseUrl'))
    if (isAzureForm(url)) {
      throw new TargetFault(
        'the baseUrl is an Azure endpoint. Write azure: {endpoint: …, deployment: …} in place of openai.',
      )
    }
    const base = openaiUrl(url)
    return {
      kind: 'openai',
      baseUrl: base.href,
      model,
      key: key && context.secret(key, 'key'),
      ...(headers && { headers: headersOf(headers, OWN_HEADERS, context) }),
    }
  },

  place: ({ baseUrl }) => ({ url: baseUrl, api: '' }),

  template: ({ baseUrl, model, key, headers }, asked) =>
    sdkTemplate({
      ...asked,
      model,
      key,
      headers,
      client: ({ OpenAI }, options) => new OpenAI({ ...options, baseURL: baseUrl, apiKey: key ?? NO_KEY }),
    }),
}
