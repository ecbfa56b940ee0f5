import { isLoopback, type ManageAction, type ManageInput, type ManageOutput } from '@tollgate/middleware'
import { CommandFault } from './command-fault.ts'
import type { Place } from './place.ts'

/*
 * A gateway that is managed by its URL, instead of the tables behind it: with a key of scope `admin`, or `read` for what changes
 * nothing. The key comes from the environment alone, since all processes of a machine see a command's arguments.
 */

/** Where a gateway is, and the key that it is asked with. */
export interface ManagedGateway {
  /** Without a slash at its end: `https://app.azurewebsites.net/api`. */
  readonly url: string
  /** The option or the variable that said so. */
  readonly saidBy: string
  readonly key: string
}

/** `undefined` where no URL is given: then the tables are meant. @throws CommandFault that names the option */
export function gatewayOf({ url: given, env }: Place): ManagedGateway | undefined {
  const saidBy = given === undefined ? 'TOLLGATE_URL' : '--url'
  const text = given ?? (env.TOLLGATE_URL || undefined)
  if (text === undefined) return undefined
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw new CommandFault(`${saidBy}: no URL such as https://app.azurewebsites.net/api.`)
  }
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    throw new CommandFault(`${saidBy}: an address alone, without a name, a key or parameters. The key is TOLLGATE_KEY.`)
  }
  if (url.protocol === 'http:' && !isLoopback(url)) {
    throw new CommandFault(`${saidBy}: the key would go to ${url.host} in clear. Use https://.`)
  }
  const key = env.TOLLGATE_KEY?.trim() ?? ''
  if (key === '') {
    throw new CommandFault(
      `TOLLGATE_KEY is not set: ${saidBy} needs a key of scope admin (or read, for what changes nothing). ` +
        'Make one beside the tables: keys create --consumer me --scope admin',
    )
  }
  if (!/^[\x21-\x7e]+$/.test(key))
    throw new CommandFault('TOLLGATE_KEY: no key, but several words, or more than ASCII.')
  return { url: url.href.replace(/\/+$/, ''), saidBy, key }
}

/** Over HTTP, as on the tables. @throws CommandFault that names the field, the URL or the key */
export async function managingByUrl<Action extends ManageAction>(
  action: Action,
  input: ManageInput<Action>,
  gateway: ManagedGateway,
): Promise<ManageOutput<Action>> {
  const given = Object.entries(input).filter(([, value]) => value !== undefined)
  const inPath = new Set<string>()
  const path = action.path.replace(/\{(\w+)\}/g, (_, name: string) => {
    inPath.add(name)
    return inSegment(name, String((input as Readonly<Record<string, unknown>>)[name]))
  })
  const others = Object.fromEntries(given.filter(([name]) => !inPath.has(name)))
  const isRead = action.method === 'GET'
  const query = isRead ? queryOf(others) : ''
  const body = isRead || Object.keys(others).length === 0 ? undefined : JSON.stringify(others)
  const { text } = await asking(gateway, `/manage${path}${query}`, { method: action.method, body })
  return jsonOf(text, gateway) as ManageOutput<Action>
}

/** What is read besides: `/usage`, and its stories. */
export async function readingByUrl(
  gateway: ManagedGateway,
  path: string,
  parameters: Readonly<Record<string, unknown>>,
): Promise<string> {
  return (await asking(gateway, `${path}${queryOf(parameters)}`, { method: 'GET' })).text
}

export function jsonOf(text: string, { url, saidBy }: ManagedGateway): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new CommandFault(`${saidBy}: what answers at ${url} answers no JSON. ${HINT}`)
  }
}

/** A dot segment would be another path, however it is written. */
function inSegment(name: string, value: string): string {
  if (value === '' || /^\.{1,2}$/.test(value)) throw new CommandFault(`<${name}>: there is none of that name.`)
  return encodeURIComponent(value)
}

function queryOf(parameters: Readonly<Record<string, unknown>>): string {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined)
  const text = new URLSearchParams(Object.fromEntries(given.map(([name, value]) => [name, String(value)]))).toString()
  return text === '' ? '' : `?${text}`
}

/** Above the longest that a gateway takes for an answer. */
const TIMEOUT_MS = 230_000
const MOST_BYTES = 64 * 1024 * 1024

const HINT = 'The address of a gateway ends as its routes begin, such as https://app.azurewebsites.net/api.'

interface Sent {
  readonly method: string
  readonly body?: string | undefined
}

/** @throws CommandFault for every answer but a 200 */
async function asking(
  gateway: ManagedGateway,
  path: string,
  { method, body }: Sent,
): Promise<{ readonly text: string }> {
  const { url, saidBy, key } = gateway
  let response: Response
  let text: string
  try {
    response = await fetch(`${url}${path}`, {
      method,
      headers: {
        accept: 'application/json, text/csv',
        authorization: `Bearer ${key}`,
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body }),
      // Whoever is named there would get the key.
      redirect: 'manual',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
    text = await bounded(response)
  } catch (error) {
    throw new CommandFault(`${saidBy}: ${url} could not be asked: ${reasonOf(error)}.`)
  }
  const { status, headers } = response
  if (status >= 300 && status < 400) {
    const to = URL.parse(headers.get('location') ?? '', url)?.origin ?? 'elsewhere'
    throw new CommandFault(
      `${saidBy}: ${url} redirects to ${to}, which is not followed, since the key would go along. Name the gateway's own address.`,
    )
  }
  if (status === 200) return { text }
  throw refusedFault(gateway, status, text, headers.get('retry-after'))
}

async function bounded(response: Response): Promise<string> {
  const pieces: Uint8Array[] = []
  let bytes = 0
  for await (const piece of response.body ?? []) {
    bytes += piece.byteLength
    if (bytes > MOST_BYTES) throw new Error(`its answer is longer than ${MOST_BYTES} bytes`)
    pieces.push(piece)
  }
  return Buffer.concat(pieces).toString()
}

/** Of a connection: what Node calls it. Never the request, which has the key. */
function reasonOf(error: unknown): string {
  const { name, message, cause } = error as Error & { cause?: { code?: unknown; message?: unknown } }
  if (name === 'TimeoutError') return `no answer within ${TIMEOUT_MS / 1_000} s`
  const { code } = cause ?? {}
  if (typeof code !== 'string') return String(cause?.message ?? message)
  if (/CERT|SIGNATURE|SELF_SIGNED|ALTNAME/.test(code)) {
    return `its certificate is not trusted (${code}). NODE_EXTRA_CA_CERTS names the file of an authority of one's own`
  }
  return code
}

interface Refused {
  readonly error: string
  readonly code: string
}

function refusedFault({ url, saidBy }: ManagedGateway, status: number, text: string, retryAfter: string | null): Error {
  const refused = refusedIn(text)
  if (refused === undefined) {
    return new CommandFault(`${saidBy}: what answers at ${url} is no gateway, or an old one (HTTP ${status}). ${HINT}`)
  }
  const { error, code } = refused
  const wait = retryAfter === null ? '' : ` Retry after ${retryAfter} s.`
  if (status === 401 || code === 'insufficient_scope') return new CommandFault(`TOLLGATE_KEY: ${error}`)
  if (status === 429 || status === 503) return new CommandFault(`${error}${wait}`)
  return new CommandFault(error)
}

function refusedIn(text: string): Refused | undefined {
  try {
    const { error, code } = JSON.parse(text)
    if (typeof error !== 'string' || typeof code !== 'string') return undefined
    return { error, code }
  } catch {
    return undefined
  }
}
