import type OpenAI from 'openai'
import type { TargetSettings } from '../policy/index.ts'
import { noting } from './noting-fetch.ts'
import { transport } from './transport.ts'

/** Gives an Entra token for Azure AI. */
export type TokenSource = () => Promise<string>

export interface ConnectOptions {
  readonly token: TokenSource
  /** Another way to send requests than `transport()`. */
  readonly fetch?: typeof fetch
}

/** The SDK's client for a target. The SDK is loaded with the first one. */
export type Connect = (target: TargetSettings) => Promise<OpenAI>

/**
 * Every option that the SDK would otherwise read from the environment is given, so that only our settings decide where
 * a prompt and a key go. Its retries are off, for they belong to the gateway; so are its logs, which show bodies.
 */
export function connect({ token, fetch }: ConnectOptions): Connect {
  const clients = new WeakMap<TargetSettings, Promise<OpenAI>>()
  const common = {
    organization: null,
    project: null,
    webhookSecret: null,
    adminAPIKey: null,
    maxRetries: 0,
    logLevel: 'off' as const,
    // A redirect could carry the key to another host.
    fetchOptions: { redirect: 'error' as const },
    fetch: fetch === undefined ? transport() : noting(fetch),
  }

  async function open(target: TargetSettings): Promise<OpenAI> {
    const { openai } = await import('./sdk.ts')
    return withoutCustomHeaders(() => construct(openai, target))
  }

  function construct({ AzureOpenAI, OpenAI }: typeof import('openai'), target: TargetSettings): OpenAI {
    if (target.kind === 'openai') {
      const keyless = target.key === undefined ? { defaultHeaders: { authorization: null } } : {}
      return new OpenAI({ ...common, baseURL: target.baseUrl, apiKey: target.key ?? 'none', ...keyless })
    }
    const endpoint = target.endpoint.replace(/\/+$/, '')
    if (target.apiVersion === undefined) {
      return new OpenAI({ ...common, baseURL: `${endpoint}/openai/v1/`, apiKey: target.key ?? token })
    }
    const credential = target.key === undefined ? { apiKey: '', azureADTokenProvider: token } : { apiKey: target.key }
    return new AzureOpenAI({ ...common, ...credential, baseURL: `${endpoint}/openai`, apiVersion: target.apiVersion })
  }

  return (target) => {
    let client = clients.get(target)
    if (client === undefined) {
      client = open(target)
      clients.set(target, client)
      // A failure is tried again by the next call.
      client.catch(() => clients.delete(target))
    }
    return client
  }
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
