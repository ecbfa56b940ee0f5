import type { Dispatcher, Pool } from 'undici'
import { OperatorError } from '../../pipeline/index.ts'
import type { ConnectionCheck } from '../../policy/index.ts'

export type Environment = Readonly<Record<string, string | undefined>>

/** Where requests leave from: straight, or by the proxy that the environment names. */
export interface WayOut {
  dispatcherFor(url: URL): Dispatcher
  /** Kept connections are closed when the last answer is read. */
  close(): Promise<void>
}

/**
 * What an answer's headers may have together, in bytes: undici's default, 16 KiB, would cost a good answer, whose cookies,
 * policies or filters' results are long.
 */
const MAX_HEADER_BYTES = 64 * 1024

/** A server on the same continent answers within 100 ms; a lost packet is sent again after one second, and after three. */
const CONNECT_MS = 4_000

type Undici = Pick<typeof import('undici'), 'Agent' | 'EnvHttpProxyAgent' | 'Pool'>

/**
 * By `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, or their lower-case names, which win. This machine is never asked by a
 * proxy: a proxy's `localhost` is another machine, and would be shown the request.
 *
 * @param connectTimeout the longest that a connection may take to come about, in milliseconds; also one to a proxy, or through it
 * @param check of the addresses that are asked straight; a proxy looks names up by itself
 * @throws OperatorError for a proxy that is no http or https URL
 */
export function wayOut(
  { Agent, EnvHttpProxyAgent, Pool }: Undici,
  env: Environment,
  connectTimeout = CONNECT_MS,
  check?: ConnectionCheck,
): WayOut {
  const looking = check === undefined ? {} : { connect: { lookup: check.lookup } }
  const bounds = { maxHeaderSize: MAX_HEADER_BYTES, connectTimeout, ...looking }
  const direct = new Agent(bounds)
  const httpProxy = proxyUrl(env, 'http_proxy') ?? ''
  const httpsProxy = proxyUrl(env, 'https_proxy') ?? ''
  if (httpProxy === '' && httpsProxy === '') {
    return { dispatcherFor: () => direct, close: () => direct.close() }
  }
  // An empty text keeps it from reading the process's own environment.
  const noProxy = env.no_proxy ?? env.NO_PROXY ?? ''
  const clientFactory = (origin: URL, options: object) => failingOnce(new Pool(origin, options))
  const timeout = { timeout: connectTimeout }
  const tls = { proxyTls: timeout, requestTls: timeout }
  const proxied = new EnvHttpProxyAgent({ ...bounds, ...tls, httpProxy, httpsProxy, noProxy, clientFactory })
  return {
    dispatcherFor: ({ hostname }) => (isThisMachine(hostname) ? direct : proxied),
    async close() {
      await Promise.all([direct.close(), proxied.close()])
    },
  }
}

/**
 * undici takes a proxy that closes its connection instead of answering for a kept connection that was closed, and asks
 * again at once, thousands of times a second. Told by another error, it fails.
 */
function failingOnce(proxy: Pool): Pool {
  const open = proxy.connect.bind(proxy) as (options: Dispatcher.ConnectOptions) => Promise<Dispatcher.ConnectData>
  const connect = async (options: Dispatcher.ConnectOptions) => {
    try {
      return await open(options)
    } catch (cause) {
      throw new Error('The proxy opened no connection', { cause })
    }
  }
  return Object.assign(proxy, { connect })
}

function proxyUrl(env: Environment, name: string): string | undefined {
  const text = env[name] ?? env[name.toUpperCase()]
  if (!text) return undefined
  // As other clients take it: a host and a port alone mean http.
  const url = URL.parse(text.includes('://') ? text : `http://${text}`)
  if (url !== null && (url.protocol === 'http:' || url.protocol === 'https:')) return url.href
  throw new OperatorError(`${name.toUpperCase()} must be a URL such as http://proxy.example:8080.`)
}

function isThisMachine(hostname: string): boolean {
  return /^(?:127(?:\.\d+){3}|(?:.+\.)?localhost|\[::1\]|\[::ffff:7f[\da-f]{2}:[\da-f]+\])$/i.test(hostname)
}
