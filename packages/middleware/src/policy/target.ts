import type { TargetDocument } from './model-schema.ts'
import {
  AZURE_AI_SUFFIXES,
  azureUrl,
  isAzureForm,
  ModelUrlFault,
  meansV1,
  OPENAI_HOST,
  openaiUrl,
} from './model-url.ts'
import type { TargetSettings } from './policy.ts'

/** What a policy may reach and read: set by the app's operator, never by the policy itself. */
export interface PolicyBounds {
  readonly env: Readonly<Record<string, string | undefined>>
  /** Names of environment variables that a policy may read; a trailing `*` stands for any rest. */
  readonly readable: readonly string[]
  /** Hosts that a target may have beyond the built-in ones; a leading `*.` stands for any subdomain. */
  readonly hosts: readonly string[]
}

/** A fault in a target, to be reported with its path. */
export class TargetFault extends Error {}

/**
 * @throws TargetFault for a variable that may not be read or is not set, for a host that may not be reached, and for a URL
 * that no model is served under.
 */
export function resolveTarget(document: TargetDocument, bounds: PolicyBounds): TargetSettings {
  if ('azure' in document) {
    const { endpoint, deployment, apiVersion, key } = document.azure
    const url = checkedUrl(settingOf(endpoint, bounds, 'endpoint'), bounds.hosts)
    const secret = key && settingOf(key, bounds, 'key')
    if (secret === undefined) refuseForeignIdentity(url)
    // The policy's own deployment counts: several models may be read from one resource's URL.
    const { endpoint: resource, apiVersion: dated } = normalised(() => azureUrl(url))
    const version = apiVersion ?? dated
    return {
      kind: 'azure',
      endpoint: resource.href,
      model: deployment,
      apiVersion: version !== undefined && meansV1(version) ? undefined : version,
      key: secret,
    }
  }
  const { baseUrl, model, key } = document.openai
  const url = checkedUrl(
    baseUrl === undefined ? `https://${OPENAI_HOST}/v1` : settingOf(baseUrl, bounds, 'baseUrl'),
    bounds.hosts,
  )
  if (isAzureForm(url)) {
    throw new TargetFault(
      'the baseUrl is an Azure endpoint. Write azure: {endpoint: …, deployment: …} in place of openai.',
    )
  }
  const base = normalised(() => openaiUrl(url))
  return { kind: 'openai', baseUrl: base.href, model, key: key && settingOf(key, bounds, 'key') }
}

function normalised<T>(read: () => T): T {
  try {
    return read()
  } catch (fault) {
    throw fault instanceof ModelUrlFault ? new TargetFault(`the endpoint ${fault.message}`) : fault
  }
}

/** Whether managed identity may be used for a URL: only Azure AI's own hosts are ever sent an Entra token. */
export function isAzureAiHost(url: URL): boolean {
  return url.protocol === 'https:' && AZURE_AI_SUFFIXES.some((suffix) => url.hostname.endsWith(suffix))
}

function refuseForeignIdentity(url: URL): void {
  if (isAzureAiHost(url)) return
  throw new TargetFault(
    `managed identity is sent to Azure AI hosts only, and '${url.hostname}' is none. Give it a key.`,
  )
}

function settingOf(value: string | { readonly env: string }, bounds: PolicyBounds, field: string): string {
  if (typeof value === 'string') return value
  const readable = bounds.readable.some((pattern) => matches(pattern, value.env))
  if (!readable) {
    throw new TargetFault(
      `${field}: a policy may not read ${value.env}. The app setting TOLLGATE_POLICY_ENV lists more.`,
    )
  }
  const set = bounds.env[value.env]
  if (!set) throw new TargetFault(`${field}: the environment variable ${value.env} is not set.`)
  return set
}

function matches(pattern: string, name: string): boolean {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : pattern === name
}

function checkedUrl(text: string, hosts: readonly string[]): URL {
  const url = URL.parse(text)
  if (url === null) throw new TargetFault('the endpoint is not a URL.')
  if (url.username !== '' || url.password !== '')
    throw new TargetFault('the endpoint holds a user name or password. Use a key.')
  const listed = hosts.some((host) => sameHost(host, url.hostname))
  const known = isAzureAiHost(url) || url.hostname === OPENAI_HOST
  if (!listed && !known) {
    throw new TargetFault(`'${url.hostname}' is no known model host. List it in the app setting TOLLGATE_TARGET_HOSTS.`)
  }
  if (url.protocol !== 'https:' && !isLoopback(url)) throw new TargetFault(`'${url.hostname}' needs https.`)
  return url
}

function sameHost(listed: string, hostname: string): boolean {
  const host = listed.toLowerCase()
  return host.startsWith('*.') ? hostname.endsWith(host.slice(1)) : hostname === host
}

export function isLoopback(url: URL): boolean {
  return url.protocol === 'http:' && /^(?:127\.\d+\.\d+\.\d+|localhost|\[::1\])$/.test(url.hostname)
}
