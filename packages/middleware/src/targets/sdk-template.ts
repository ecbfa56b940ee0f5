import type OpenAI from 'openai'
import type { AskedOperation, RequestTemplate } from './target-kind.ts'

/** What the SDK is constructed by, but for what says where it asks. */
export type SdkOptions = typeof OURS_ALONE & { readonly fetch: typeof fetch }

export interface SdkTarget extends AskedOperation {
  readonly model: string
  /** Without one no `authorization` is sent. */
  readonly key: string | undefined
  /** More headers, names in lower case and values by turns; none that the SDK sets. */
  readonly headers?: readonly string[] | undefined
  /** Constructs the client of a target. */
  readonly client: (sdk: typeof import('./sdk.ts'), options: SdkOptions) => OpenAI
}

/** Where the SDK insists on a key, and none is sent. */
export const NO_KEY = 'none'

/** What would be untrue: they tell of one call of the SDK's, its retries and its time limit. */
const OF_ONE_CALL: readonly string[] = ['x-stainless-retry-count', 'x-stainless-timeout']

/**
 * Where and how a target is asked, as the OpenAI SDK says: its URLs, its deployments and versions of Azure's API, its headers
 * for a key. The SDK is loaded with the first one, and builds one request, which goes nowhere.
 *
 * @throws what the SDK throws for a target that it can't ask
 */
export async function sdkTemplate({
  client,
  path,
  method,
  model,
  key,
  headers: secret = [],
}: SdkTarget): Promise<RequestTemplate> {
  const sdk = await import('./sdk.ts')
  let built: { readonly url: string; readonly init: RequestInit } | undefined
  const fetch = async (url: string | URL | Request, init: RequestInit = {}) => {
    built = { url: String(url), init }
    return new Response('{}', { headers: { 'content-type': 'application/json' } })
  }
  const asking = withoutCustomHeaders(() => client(sdk, { ...OURS_ALONE, fetch }))
  await (method === 'GET' ? asking.get(path) : asking.post(path, { body: { model } })).asResponse()
  if (built === undefined) throw new Error('The OpenAI SDK built no request')
  const { url, init } = built
  const headers = new Headers(init.headers)
  for (const name of OF_ONE_CALL) headers.delete(name)
  if (key === undefined) headers.delete('authorization')
  return {
    url: new URL(url),
    headers: [...[...headers].flat(), ...secret],
    redirect: init.redirect === 'manual' ? 'manual' : 'error',
  }
}

/**
 * Every option that the SDK would otherwise read from the environment is given, so that only our settings decide where
 * a prompt and a key go. Its logs, which show bodies, are off.
 */
const OURS_ALONE = {
  organization: null,
  project: null,
  webhookSecret: null,
  adminAPIKey: null,
  maxRetries: 0,
  logLevel: 'off',
  // A redirect could carry the key to another host.
  fetchOptions: { redirect: 'error' },
} as const

/**
 * The SDK adds the headers in this variable to every request, a key among them or not, and has no option against it.
 * They would go to every host that a policy names. It reads the variable in its constructor alone.
 */
function withoutCustomHeaders<T>(make: () => T): T {
  const name = 'OPENAI_CUSTOM_HEADERS'
  const { [name]: saved } = process.env
  delete process.env[name]
  try {
    return make()
  } finally {
    if (saved !== undefined) process.env[name] = saved
  }
}
