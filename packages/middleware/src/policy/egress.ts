import { isAzureAiHost, type TargetContext, TargetFault, type TargetKind } from '../targets/index.ts'

/** What a policy may reach and read: set by the app's operator, never by the policy itself. */
export interface EgressPolicy {
  readonly env: Readonly<Record<string, string | undefined>>
  /** Names of environment variables that a policy may read; a trailing `*` stands for any rest. */
  readonly readable: readonly string[]
  /**
   * Hosts that a target may have beyond the built-in ones; a leading `*.` stands for any subdomain, and `*` alone, which no setting
   * may say, for any host: for tools that reach none.
   */
  readonly hosts: readonly string[]
}

/**
 * The checks of one target.
 *
 * @param kinds whose own hosts need not be listed
 * @param secrets to which the variables go that hold its secrets
 */
export function targetContext(egress: EgressPolicy, kinds: readonly TargetKind[], secrets: string[]): TargetContext {
  return {
    setting: (value, field) => settingOf(value, egress, field),
    secret(value, field) {
      secrets.push(value.env)
      return settingOf(value, egress, field)
    },
    url: (text) => targetUrl(text, egress, kinds),
    allowIdentity: refuseForeignIdentity,
  }
}

/** @throws TargetFault where an Entra token would leave Azure AI. */
function refuseForeignIdentity(url: URL): void {
  if (isAzureAiHost(url)) return
  throw new TargetFault(
    `managed identity is sent to Azure AI hosts only, and '${url.hostname}' is none. Give it a key.`,
  )
}

/** A value of the policy, or of the variable that it names. @throws TargetFault for one that may not be read or is not set. */
function settingOf(value: string | { readonly env: string }, egress: EgressPolicy, field: string): string {
  if (typeof value === 'string') return value
  const readable = egress.readable.some((pattern) => matches(pattern, value.env))
  if (!readable) {
    throw new TargetFault(
      `${field}: a policy may not read ${value.env}. The app setting TOLLGATE_POLICY_ENV lists more.`,
    )
  }
  const set = egress.env[value.env]
  if (!set) throw new TargetFault(`${field}: the environment variable ${value.env} is not set.`)
  return set
}

function matches(pattern: string, name: string): boolean {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : pattern === name
}

/** The URL of a target. @throws TargetFault for a host that may not be reached, and for a URL that could tell a secret. */
function targetUrl(text: string, { hosts }: EgressPolicy, kinds: readonly TargetKind[]): URL {
  const url = URL.parse(text)
  if (url === null) throw new TargetFault('the endpoint is not a URL.')
  if (url.username !== '' || url.password !== '')
    throw new TargetFault('the endpoint holds a user name or password. Use a key.')
  const listed = hosts.some((host) => sameHost(host, url.hostname))
  const known = kinds.some((kind) => kind.isKnownHost?.(url))
  if (!listed && !known) {
    throw new TargetFault(`'${url.hostname}' is no known model host. List it in the app setting TOLLGATE_TARGET_HOSTS.`)
  }
  if (url.protocol !== 'https:' && !isLoopback(url)) throw new TargetFault(`'${url.hostname}' needs https.`)
  return url
}

function sameHost(listed: string, hostname: string): boolean {
  const host = listed.toLowerCase()
  if (host === '*') return true
  return host.startsWith('*.') ? hostname.endsWith(host.slice(1)) : hostname === host
}

export function isLoopback(url: URL): boolean {
  return url.protocol === 'http:' && /^(?:127\.\d+\.\d+\.\d+|localhost|\[::1\])$/.test(url.hostname)
}
