import { type LookupAddress, lookup as systemLookup } from 'node:dns'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { OperatorError } from '../pipeline/index.ts'
import {
  isAzureAiHost,
  kindOf,
  TARGET_KINDS,
  type TargetContext,
  TargetFault,
  type TargetKind,
  type TargetSettings,
} from '../targets/index.ts'

/*
 * The one egress check of every URL that a policy names: its host's name when the policy is read, and the address that the name
 * stands for at each connection.
 */

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
    secretIfSet(value, field) {
      if (!egress.env[value.env]) return undefined
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
      `${field}: a policy may not read ${value.env}. List it in the app setting TOLLGATE_POLICY_ENV.`,
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
  const listed = isListed(hosts, url.hostname)
  const known = kinds.some((kind) => kind.isKnownHost?.(url))
  if (!listed && !known) {
    throw new TargetFault(`'${url.hostname}' is no known model host. List it in the app setting TOLLGATE_TARGET_HOSTS.`)
  }
  if (!listed && isPrivateAddress(url.hostname)) throw new TargetFault(new AddressNotAllowed(url.hostname).message)
  if (url.protocol !== 'https:' && !isLoopback(url)) throw new TargetFault(`'${url.hostname}' needs https.`)
  return url
}

/**
 * What is wrong with a URL that the gateway itself would read a document from; `undefined` where nothing is. Its host may be any that
 * is public: nothing is sent there but the question.
 *
 * @param hosts that may be on addresses that are not public
 */
export function documentUrl(text: string, hosts: readonly string[]): string | undefined {
  const url = URL.parse(text)
  if (url === null) return 'is not a URL. Write it whole, with https:// in front.'
  if (url.username !== '' || url.password !== '') return 'holds a user name or password. Leave them out.'
  if (url.protocol !== 'https:' && !isLoopback(url)) return `'${url.hostname}' needs https.`
  const isListedHost = isListed(hosts, url.hostname)
  return isPrivateAddress(url.hostname) && !isListedHost ? new AddressNotAllowed(url.hostname).message : undefined
}

/** What a policy was resolved by. */
export interface Trusting {
  readonly bounds: EgressPolicy
  /** The model of the settings. */
  readonly defaultTarget: TargetSettings | undefined
  readonly targetKinds?: readonly TargetKind[] | undefined
}

/** The hosts that may be on any address: those that the operator listed, and the settings' own but for a provider's. */
export function trustedHosts({ bounds, defaultTarget, targetKinds = TARGET_KINDS }: Trusting): readonly string[] {
  if (defaultTarget === undefined) return bounds.hosts
  const url = new URL(kindOf(targetKinds, defaultTarget.kind).place(defaultTarget).url)
  return targetKinds.some((kind) => kind.isKnownHost?.(url)) ? bounds.hosts : [...bounds.hosts, url.hostname]
}

function isListed(hosts: readonly string[], hostname: string): boolean {
  return hosts.some((host) => sameHost(host, hostname))
}

function sameHost(listed: string, hostname: string): boolean {
  const host = listed.toLowerCase()
  if (host === '*') return true
  return host.startsWith('*.') ? hostname.endsWith(host.slice(1)) : hostname === host
}

export function isLoopback(url: URL): boolean {
  return url.protocol === 'http:' && /^(?:127\.\d+\.\d+\.\d+|localhost|\[::1\])$/.test(url.hostname)
}

/** A host is on an address that isn't public, and no operator said that it may be. Its message names the host and the fix. */
export class AddressNotAllowed extends OperatorError {
  override readonly name = 'AddressNotAllowed'
  readonly code = 'address_not_allowed'
  constructor(host: string) {
    super(
      `'${host}' is on a private address, or on another that is not public. If that is meant, list it in the app setting ` +
        'TOLLGATE_TARGET_HOSTS.',
    )
  }
}

/** What is asked before each connection to a host that a policy named. */
export interface ConnectionCheck {
  /** A host that is an address itself: no name is looked up for it. @throws AddressNotAllowed */
  host(hostname: string): void
  /**
   * As `net.connect` takes it: looks a name up once, and gives those of its addresses that may be asked, so that the connection
   * goes to an address that was checked. Fails with `AddressNotAllowed` where none may be.
   */
  readonly lookup: LookupFunction
}

export interface ConnectionCheckOptions {
  /** Hosts that the operator listed, as an `EgressPolicy` has them: they may be on any address. All others on public ones alone. */
  readonly hosts: () => readonly string[]
  /** The system's by default. */
  readonly lookup?: LookupFunction
}

/**
 * Refuses connections to private addresses, loopback, link-local ones with their metadata services, carriers' shared ones,
 * multicast and all else that is not public, in IPv4, IPv6 and IPv4 written as IPv6, unless the operator listed the host.
 */
export function connectionCheck({
  hosts,
  lookup = systemLookup as LookupFunction,
}: ConnectionCheckOptions): ConnectionCheck {
  return {
    host(hostname) {
      if (isPrivateAddress(hostname) && !isListed(hosts(), hostname)) throw new AddressNotAllowed(hostname)
    },
    lookup(hostname, options, callback) {
      lookup(hostname, { ...options, all: true }, (error, found) => {
        if (error) return callback(error, [])
        const all = found as LookupAddress[]
        const allowed = isListed(hosts(), hostname.toLowerCase()) ? all : all.filter(({ address }) => isPublic(address))
        const [first] = allowed
        if (first === undefined) callback(new AddressNotAllowed(hostname), [])
        else if (options.all) callback(null, allowed)
        else callback(null, first.address, first.family)
      })
    },
  }
}

/** Whether a host of a URL is an address, and no public one. */
function isPrivateAddress(hostname: string): boolean {
  const address = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname
  return isIP(address) !== 0 && !isPublic(address)
}

/** Of IANA's registries of special-purpose addresses; and where Azure's hosts serve the machines that run on them. */
const NOT_PUBLIC_V4 = blockList('ipv4', [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '168.63.129.16/32',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
])
/** All that is given out for the internet. */
const GLOBAL_V6 = blockList('ipv6', ['2000::/3'])
/** Within that: protocols and tunnels, of which some end at any IPv4 address, and what is for documents. */
const NOT_PUBLIC_V6 = blockList('ipv6', ['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'])
/** IPv4 addresses as IPv6: mapped, and as a network without IPv4 reaches them (NAT64). */
const AS_V6 = blockList('ipv6', ['::ffff:0:0/96', '64:ff9b::/96'])

function blockList(family: 'ipv4' | 'ipv6', ranges: readonly string[]): BlockList {
  const list = new BlockList()
  for (const range of ranges) {
    const [network = '', bits] = range.split('/')
    list.addSubnet(network, Number(bits), family)
  }
  return list
}

function isPublic(address: string): boolean {
  const [plain = ''] = address.split('%')
  if (isIP(plain) === 4) return !NOT_PUBLIC_V4.check(plain, 'ipv4')
  if (isIP(plain) !== 6) return false
  if (AS_V6.check(plain, 'ipv6')) return isPublic(lastAsV4(plain))
  return GLOBAL_V6.check(plain, 'ipv6') && !NOT_PUBLIC_V6.check(plain, 'ipv6')
}

/** The last 32 bits of an IPv6 address as IPv4. */
function lastAsV4(address: string): string {
  // As a URL has it: short, in hexadecimal groups, also where it was written with dots at its end.
  const { hostname } = new URL(`http://[${address}]`)
  const [high = '0', low = '0'] = hostname
    .slice(1, -1)
    .split(':')
    .slice(-2)
    .map((group) => group || '0')
  const [h, l] = [Number.parseInt(high, 16), Number.parseInt(low, 16)]
  return [h >> 8, h & 255, l >> 8, l & 255].join('.')
}
