import { OperatorError } from './fault.ts'

/** This machine, and where a virtual machine asks for its identity. A proxy would be shown keys that are meant for them. */
const NEAR = ['127.0.0.1', 'localhost', '[::1]', '169.254.169.254']
/** Where the Functions platform serves identities, usually on this machine. */
const IDENTITY_ENDPOINTS = ['IDENTITY_ENDPOINT', 'MSI_ENDPOINT']
/** In the order in which Azure's SDK looks. */
const PROXIES = ['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy', 'HTTP_PROXY', 'http_proxy']

/** Whether Azure's SDK sends what it sends by a proxy, but for the hosts that `NO_PROXY` lists. */
export function namesProxy(env: NodeJS.ProcessEnv = process.env): boolean {
  return PROXIES.some((name) => env[name])
}

/**
 * Makes a client of Azure's SDK, which sends everything by the proxy that the environment names, this machine's own
 * addresses too, unless `NO_PROXY` lists them. It reads that variable when the first client of a process is made, so each
 * client is made here, with those addresses added to the list.
 *
 * @throws OperatorError for a proxy that is no URL, naming its variable and not its value.
 */
export function withoutProxyNearby<T>(make: () => T, env: NodeJS.ProcessEnv = process.env): T {
  const proxy = PROXIES.find((name) => env[name])
  if (proxy === undefined) return make()
  if (!URL.canParse(env[proxy] ?? '')) {
    throw new OperatorError(`${proxy} is not a URL. Write it with its scheme, such as http://proxy.example:8080.`)
  }
  const { NO_PROXY: saved } = env
  const endpoints = IDENTITY_ENDPOINTS.map((name) => URL.parse(env[name] ?? '')?.hostname)
  env.NO_PROXY = [saved || env.no_proxy, ...NEAR, ...endpoints].filter((host) => host).join(',')
  try {
    return make()
  } finally {
    if (saved === undefined) delete env.NO_PROXY
    else env.NO_PROXY = saved
  }
}
