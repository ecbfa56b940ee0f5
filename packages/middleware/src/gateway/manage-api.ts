import pLimit from 'p-limit'
import { type Caller, clientNetwork } from '../auth/index.ts'
import { type ManageAction, type Managed, ManageFault, perform } from '../manage/index.ts'
import { bodyFrom } from '../operations/index.ts'
import {
  describeFault,
  type GatewayRequest,
  type Handler,
  isOutage,
  isRefusal,
  jsonResponse,
  type Log,
  type Middleware,
  type Refusal,
  refusalOfEnded,
  unlessEnded,
  withDeadline,
} from '../pipeline/index.ts'
import type { WithPolicy } from '../policy/index.ts'
import { flawed, readBody } from '../surfaces/index.ts'
import { MANAGE_HEADERS } from './manage-entry.ts'

/** A policy of the largest size, as a text in JSON. */
export const MOST_MANAGE_BYTES = 1_258_291

/** Under the minute after which most proxies give up. */
const READ_MS = 50_000
/** Under the 230 s after which the platform does. */
const CHANGE_MS = 200_000
/** In each process: each may read many rows, and none of them holds up a change. */
const READS_AT_ONCE = 8
const CHANGES_AT_ONCE = 8
const RETRY_S = '1'

/** What is asked of the manage API: which action, and what the path says of its input. */
export interface Asked {
  readonly action: ManageAction
  /** By field, still percent-encoded. */
  readonly inPath: Readonly<Record<string, string>>
}

/**
 * Finds the action that a path and a method name. Stands before anybody is asked for a key: which paths there are is no secret, and
 * what is none of them shall cost nothing.
 */
export function findAction(actions: readonly ManageAction[]): Middleware<{}, { readonly asked: Asked }> {
  const paths = actions.map((action) => ({ action, ...patternOf(action.path) }))
  // '/keys/find' is not the key of that name.
  paths.sort((a, b) => a.fields.length - b.fields.length)

  return function findAction({ method, url }, _context, next) {
    const [, path = ''] = BELOW.exec(url.pathname) ?? []
    const found = paths.filter(({ pattern }) => pattern.test(path))
    if (found.length === 0) return NOT_FOUND
    const { action, pattern, fields } = found.find((each) => each.action.method === method) ?? {}
    if (action === undefined) return wrongMethod([...new Set(found.map((each) => each.action.method))])
    const [, ...values] = pattern?.exec(path) ?? []
    return next({
      asked: { action, inPath: Object.fromEntries(fields?.map((name, at) => [name, values[at] ?? '']) ?? []) },
    })
  }
}

/** What stands before is the host's. */
const BELOW = /^.*?\/manage(\/.+)$/i

function patternOf(path: string) {
  const fields: string[] = []
  const text = path.replace(/\{(\w+)\}|[^\w/]/g, (part, name: string | undefined) => {
    if (name === undefined) return `\\${part}`
    fields.push(name)
    return '([^/]+)'
  })
  return { fields, pattern: new RegExp(`^${text}$`, 'i') }
}

const NOT_FOUND: Refusal = {
  kind: 'refusal',
  code: 'not_found',
  status: 404,
  message: 'Nothing is served at this path. GET /api/openapi.json lists what is.',
}

function wrongMethod(methods: readonly string[]): Refusal {
  const allow = methods.join(', ')
  const message = `This path takes ${allow} alone.`
  return { kind: 'refusal', code: 'method_not_allowed', status: 405, message, headers: { allow } }
}

export type ManageApiOptions = Omit<Managed, 'policy' | 'actor' | 'origin' | 'signal' | 'log'>

type Managing = WithPolicy & { readonly asked: Asked; readonly consumer: Caller }

/** Carries out what is asked of the manage API. */
export function manageApi(shared: ManageApiOptions): Handler<Managing> {
  const [reads, changes] = [pLimit(READS_AT_ONCE), pLimit(CHANGES_AT_ONCE)]

  return async function manageApi(request, { asked, consumer, policy, requestId, log }) {
    const { action } = asked
    const read = await inputOf(asked, request)
    if (read === 'ended') return refusalOfEnded(request.signal)
    if (isRefusal(read)) return read
    const takingTurns = action.method === 'GET' ? reads : changes
    const work = (signal: AbortSignal) =>
      takingTurns(() => {
        signal.throwIfAborted()
        const origin = { requestId, network: clientNetwork(request.clientAddress) }
        return perform(action, read.input, { ...shared, policy, actor: actorOf(consumer), origin, signal, log })
      })
    try {
      // A change that has begun is not given up because its client has left: half of it would stand.
      const done =
        action.method === 'GET'
          ? await unlessEnded(
              withDeadline(READ_MS, (late) => work(AbortSignal.any([late, request.signal]))),
              request.signal,
            )
          : await withDeadline(CHANGE_MS, work)
      return done === 'ended' ? refusalOfEnded(request.signal) : jsonResponse(200, done, MANAGE_HEADERS)
    } catch (error) {
      return notDone(error, action, log)
    }
  }
}

function actorOf({ id, key }: Caller): string {
  return key === undefined ? `token ${id}` : `key ${key} (${id})`
}

/** @throws the error that is neither a decision nor an outage */
function notDone(error: unknown, { method }: ManageAction, log: Log): Refusal {
  if (error instanceof ManageFault) {
    const { code, status, message, field } = error
    const headers = status === 503 ? { 'retry-after': RETRY_S } : {}
    return { kind: 'refusal', code, status, message, headers, ...(field !== undefined && { param: field }) }
  }
  if (!isOutage(error)) throw error
  log('error', 'not managed', describeFault(error))
  return {
    kind: 'refusal',
    code: 'store_unavailable',
    status: 503,
    message:
      method === 'GET'
        ? 'The tables could not be read. Please try again.'
        : 'A store failed meanwhile, so the change may have been made or not. Look, and ask for it again where it was not.',
    headers: { 'retry-after': RETRY_S },
  }
}

/** Wrapped, so that nothing in it can be taken for a decision of ours. */
interface Sent {
  readonly input: Readonly<Record<string, unknown>>
}

/** The input as it was sent: what the action's schema says of it comes later. */
async function inputOf({ action, inPath }: Asked, request: GatewayRequest): Promise<Sent | Refusal | 'ended'> {
  const { searchParams } = request.url
  const sent = action.method === 'GET' ? inQuery(searchParams) : await inBody(request)
  if (sent === 'ended' || isRefusal(sent)) return sent
  const input: Record<string, unknown> = { ...sent.input }
  for (const [field, encoded] of Object.entries(inPath)) {
    if (Object.hasOwn(input, field)) return invalid(field, 'stands in the path, and belongs nowhere else')
    const value = decoded(encoded)
    if (value === undefined) return invalid(field, 'must be percent-encoded UTF-8')
    input[field] = value
  }
  return { input }
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

/** Each once. */
function inQuery(parameters: URLSearchParams): Sent | Refusal {
  const names = [...parameters.keys()]
  const twice = names.find((name, at) => names.indexOf(name) !== at)
  return twice === undefined
    ? { input: Object.fromEntries(parameters) }
    : invalid(twice, 'stands there twice: send it once')
}

async function inBody(request: GatewayRequest): Promise<Sent | Refusal | 'ended'> {
  const [parameter] = request.url.searchParams.keys()
  if (parameter !== undefined) return invalid(parameter, 'belongs in the body, as JSON: this path takes no parameters')
  const bytes = await readBody(request, MOST_MANAGE_BYTES)
  if (bytes === 'ended') return bytes
  if (bytes === 'too large' || bytes === 'too many pieces') return TOO_LARGE
  if (bytes.byteLength === 0) return { input: {} }
  const { headers } = request
  if (!JSON_TYPE.test(headers.get('content-type') ?? '') || headers.get('content-encoding') !== null) return WRONG_TYPE
  const body = bodyFrom(bytes)
  if (body === 'no JSON') return INVALID_JSON
  if (body === 'no object') return invalid(undefined, 'The body must be a JSON object')
  return body.flaw === undefined ? { input: body.json } : flawed(body.flaw)
}

const JSON_TYPE = /^\s*application\/json\s*(?:;\s*charset\s*=\s*"?utf-8"?\s*)?$/i
const LONGEST_SHOWN = 32

function invalid(param: string | undefined, rule: string): Refusal {
  const shown = param?.slice(0, LONGEST_SHOWN)
  return {
    kind: 'refusal',
    code: 'invalid_request',
    status: 400,
    message: shown === undefined ? `${rule}.` : `'${shown}' ${rule}.`,
    ...(shown !== undefined && { param: shown }),
  }
}

const INVALID_JSON: Refusal = { kind: 'refusal', code: 'invalid_json', status: 400, message: 'The body is no JSON.' }
const WRONG_TYPE: Refusal = {
  kind: 'refusal',
  code: 'unsupported_media_type',
  status: 415,
  message: 'Send the body as it is (no Content-Encoding), with Content-Type: application/json.',
}
const TOO_LARGE: Refusal = {
  kind: 'refusal',
  code: 'request_too_large',
  status: 413,
  message: `The body must be at most ${MOST_MANAGE_BYTES} bytes long.`,
}
