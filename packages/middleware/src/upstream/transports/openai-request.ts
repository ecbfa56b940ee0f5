import type OpenAI from 'openai'
import type { TargetSettings } from '../../policy/index.ts'
import { shownUrl } from './transport.ts'

type Method = 'GET' | 'POST'

/** Gives an Entra token for Azure AI. */
export type TokenSource = () => Promise<string>

/** A request to a target but for its body and its token: the same for every call. */
export interface RequestTemplate {
  readonly url: URL
  /** As a log may show it. */
  readonly shown: string
  readonly method: Method
  /** Names in lower case and values, by turns. */
  readonly headers: readonly string[]
  /** What a `fetch` does with a redirect. */
  readonly redirect: 'error' | 'manual'
  /** Whether each call adds its own `authorization`, with a token. */
  readonly needsToken: boolean
}

/** What would be untrue: they tell of one call of the SDK's, its retries and its time limit. */
const OF_ONE_CALL: readonly string[] = ['x-stainless-retry-count', 'x-stainless-timeout']

const NO_TOKEN = 'none'

/**
 * Where and how a target is asked, as the OpenAI SDK says: its URLs, its deployments and versions of Azure's API, its headers
 * for a key. The SDK is loaded with the first one, and builds one request for each target and path, which goes nowhere.
 *
 * @throws what the SDK throws for a target that it can't ask
 */
export async function requestTemplate(
  settings: TargetSettings,
  path: string,
  method: Method,
): Promise<RequestTemplate> {
  const { openai } = await import('./sdk.ts')
  let built: { readonly url: string; readonly init: RequestInit } | undefined
  const fetch = async (url: string | URL | Request, init: RequestInit = {}) => {
    built = { url: String(url), init }
    return new Response('{}', { headers: { 'content-type': 'application/json' } })
  }
  const client = withoutCustomHeaders(() => construct(openai, settings, fetch))
  const isGet = method === 'GET'
  await (isGet ? client.get(path) : client.post(path, { body: { model: settings.model } })).asResponse()
  if (built === undefined) throw new Error('The OpenAI SDK built no request')
  const { url, init } = built
  const headers = new Headers(init.headers)
  for (const name of OF_ONE_CALL) headers.delete(name)
  const needsToken = settings.kind === 'azure' && settings.key === undefined
  if (needsToken) headers.delete('authorization')
  return {
    url: new URL(url),
    shown: shownUrl(url),
    method,
    headers: [...headers].flat(),
    redirect: init.redirect === 'manual' ? 'manual' : 'error',
    needsToken,
  }
}

/**
 * Every option that the SDK would otherwise read from the environment is given, so that only our settings decide where
 * a prompt and a key go. Its logs, which show bodies, are off.
 */
function construct(
  { AzureOpenAI, OpenAI }: typeof import('openai'),
  target: TargetSettings,
  fetch: typeof globalThis.fetch,
): OpenAI {
  const common = {
    organization: null,
    project: null,
    webhookSecret: null,
    adminAPIKey: null,
    maxRetries: 0,
    logLevel: 'off' as const,
    // A redirect could carry the key to another host.
    fetchOptions: { redirect: 'error' as const },
    fetch,
  }
  if (target.kind === 'openai') {
    const keyless = target.key === undefined ? { defaultHeaders: { authorization: null } } : {}
    return new OpenAI({ ...common, baseURL: target.baseUrl, apiKey: target.key ?? 'none', ...keyless })
  }
  const endpoint = target.endpoint.replace(/\/+$/, '')
  if (target.apiVersion === undefined) {
    return new OpenAI({ ...common, baseURL: `${endpoint}/openai/v1/`, apiKey: target.key ?? NO_TOKEN })
  }
  const credential =
    target.key === undefined ? { apiKey: '', azureADTokenProvider: async () => NO_TOKEN } : { apiKey: target.key }
  return new AzureOpenAI({ ...common, ...credential, baseURL: `${endpoint}/openai`, apiVersion: target.apiVersion })
}

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

/** Templates that are known by now, and a token where one is needed. */
export interface RequestBuilder {
  /**
   * What a call needs beside its body, at once where it is there already.
   *
   * @throws the signal's reason when it aborts: neither the SDK nor a token looks at one
   */
  build(target: TargetSettings, path: string, method: Method, signal: AbortSignal): BuiltRequest | Promise<BuiltRequest>
}

export interface BuiltRequest {
  readonly template: RequestTemplate
  /** The value of `authorization`; `undefined` where the template has what is needed. */
  readonly authorization: string | undefined
}

export function requestBuilder(token: TokenSource): RequestBuilder {
  const known = new WeakMap<TargetSettings, Map<string, BuiltRequest | Promise<BuiltRequest>>>()

  async function load(target: TargetSettings, path: string, method: Method, at: string): Promise<BuiltRequest> {
    try {
      const template = await requestTemplate(target, path, method)
      const built = { template, authorization: undefined }
      known.get(target)?.set(at, built)
      return built
    } catch (error) {
      // A failure is tried again by the next call.
      known.get(target)?.delete(at)
      throw error
    }
  }

  async function authorized(
    target: TargetSettings,
    built: BuiltRequest | Promise<BuiltRequest>,
  ): Promise<BuiltRequest> {
    const { template } = await built
    if (!template.needsToken) return { template, authorization: undefined }
    return { template, authorization: `Bearer ${await tokenFrom(token, target)}` }
  }

  return {
    build(target, path, method, signal) {
      let paths = known.get(target)
      if (paths === undefined) {
        paths = new Map()
        known.set(target, paths)
      }
      const at = `${method} ${path}`
      let built = paths.get(at)
      if (built === undefined) {
        built = load(target, path, method, at)
        paths.set(at, built)
      }
      if (!('then' in built) && !built.template.needsToken) return built
      return unlessAborted(authorized(target, built), signal)
    },
  }
}

/** Its cause is told to the operator by its name, and never by its text. */
async function tokenFrom(token: TokenSource, { kind }: TargetSettings): Promise<string> {
  let got: unknown
  try {
    got = await token()
  } catch (cause) {
    throw new Error(`No token could be had for a target of kind ${kind}`, { cause })
  }
  if (typeof got !== 'string' || got === '') throw new Error('The source of tokens gave none')
  return got
}

/** Waits no longer than until the signal aborts. @throws its reason then */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const abort = () => reject(signal.reason)
  // After the signal has aborted, what the work throws has no reader.
  work.catch(() => {})
  if (signal.aborted) throw signal.reason
  signal.addEventListener('abort', abort)
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}
