import type OpenAI from 'openai'
import type { TargetSettings } from '../policy/index.ts'

/** Gives an Entra token for Azure AI. */
export type TokenSource = () => Promise<string>

export interface ConnectOptions {
  readonly token: TokenSource
  readonly fetch?: typeof fetch
}

/** The SDK's client for a target. The SDK (about 0.15 s to load) is loaded with the first one. */
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
    ...(fetch ? { fetch } : {}),
  }

  async function open(target: TargetSettings): Promise<OpenAI> {
    const { AzureOpenAI, OpenAI } = await import('openai')
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
    }
    return client
  }
}
