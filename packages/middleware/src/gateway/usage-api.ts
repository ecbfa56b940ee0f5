import pLimit from 'p-limit'
import {
  type GatewayRequest,
  type Handler,
  type HttpReply,
  type HttpResponse,
  isRefusal,
  jsonResponse,
  type Log,
  type Refusal,
  refusalOfEnded,
  unlessEnded,
  withDeadline,
} from '../pipeline/index.ts'
import {
  isUsageFault,
  reportCsv,
  reportJson,
  rowJson,
  shadowCsv,
  shadowJson,
  type UsageAsked,
  type UsageFault,
  type UsageReader,
  usageQuery,
  whyQuery,
} from '../usage/index.ts'
import type { Reading } from './create-gateway.ts'
import { notRead, WRONG_METHOD } from './reading.ts'

export interface UsageApiOptions {
  readonly reader: Pick<UsageReader, 'report' | 'shadow' | 'why'>
  /** Milliseconds since 1970. */
  readonly wallClock: () => number
}

/** Under the minute after which most proxies give up. */
const READ_MS = 50_000
const RETRY_S = 1
/** In each process: a dashboard's dozen questions must not hold up calls to models. */
const READS_AT_ONCE = 4

const NO_STORE = { 'cache-control': 'no-store' }

/** `GET …/usage`: what requests came to. `GET …/usage/requests/{id}`: all requests of this id, each with its story. */
export function usageApi({ reader, wallClock }: UsageApiOptions): Handler<Reading> {
  const takingTurns = pLimit(READS_AT_ONCE)

  /** Reads the tables while somebody waits for it. @throws what is no outage */
  async function reading<T>(
    read: (late: AbortSignal) => Promise<T>,
    signal: AbortSignal,
    log: Log,
  ): Promise<T | Refusal> {
    const inTurn = (late: AbortSignal) =>
      takingTurns(() => {
        late.throwIfAborted()
        return read(late)
      })
    try {
      const done = await unlessEnded(
        withDeadline(READ_MS, (late) => inTurn(AbortSignal.any([late, signal]))),
        signal,
      )
      return done === 'ended' ? refusalOfEnded(signal) : done
    } catch (error) {
      return notRead(error, log, RETRY_S)
    }
  }

  async function report({ url, signal }: GatewayRequest, log: Log): Promise<HttpReply> {
    const asked = parametersOf(url, REPORT_PARAMETERS)
    if (isRefusal(asked)) return asked
    const { format = 'json', shadow = 'false', ...query } = asked
    if (shadow !== 'true' && shadow !== 'false') return invalid('shadow', 'must be true or false')
    if (format !== 'json' && format !== 'csv') return invalid('format', 'must be json or csv')
    const parsed = usageQuery(query, wallClock())
    if (isUsageFault(parsed)) return faulty(parsed)
    if (shadow === 'true') {
      const { by, ...span } = parsed
      if (by === 'target') return invalid('by', "must be consumer or model where 'shadow' is true")
      const judged = await reading((late) => reader.shadow({ ...span, by }, late), signal, log)
      if (isRefusal(judged)) return judged
      return format === 'csv' ? csvResponse(shadowCsv(judged)) : jsonResponse(200, shadowJson(judged), NO_STORE)
    }
    const read = await reading((late) => reader.report(parsed, late), signal, log)
    if (isRefusal(read)) return read
    return format === 'csv' ? csvResponse(reportCsv(read)) : jsonResponse(200, reportJson(read), NO_STORE)
  }

  async function why(requestId: string, { url, signal }: GatewayRequest, log: Log): Promise<HttpReply> {
    const asked = parametersOf(url, WHY_PARAMETERS)
    if (isRefusal(asked)) return asked
    const span = whyQuery(asked, wallClock())
    if (isUsageFault(span)) return faulty(span)
    const rows = await reading((late) => reader.why(requestId, span, late), signal, log)
    if (isRefusal(rows)) return rows
    const [since, until] = [span.since, span.until].map((at) => new Date(at).toISOString())
    return jsonResponse(200, { requestId, since, until, requests: rows.map(rowJson) }, NO_STORE)
  }

  return function usageApi(request, { log }) {
    const { method, url } = request
    const [, path, id] = PATH.exec(url.pathname) ?? []
    const requestId = id === undefined ? undefined : decoded(id)
    if (path === undefined || (id !== undefined && requestId === undefined)) return NOT_FOUND
    if (method !== 'GET') return WRONG_METHOD
    return requestId === undefined ? report(request, log) : why(requestId, request, log)
  }
}

/** A request's id is its caller's, and may hold a slash: all that follows is the id. */
const PATH = /^.*?\/(usage)(?:\/?|\/requests\/(.+))$/i

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

const REPORT_PARAMETERS = ['by', 'since', 'until', 'consumer', 'model', 'shadow', 'format'] as const
const WHY_PARAMETERS = ['since', 'until'] as const

/** Each once, and none that isn't known: a misspelt one would be a report of something else. */
function parametersOf<Name extends string>(
  { searchParams }: URL,
  known: readonly Name[],
): Readonly<Partial<Record<Name, string>>> | Refusal {
  const found: Partial<Record<Name, string>> = {}
  for (const [given, value] of searchParams) {
    const name = known.find((each) => each === given)
    if (name === undefined) return unknownParameter(given, known)
    if (found[name] !== undefined) return invalid(name, 'stands there twice: send it once')
    found[name] = value
  }
  return found
}

/** The longest name that is repeated to who sent it. */
const LONGEST_SHOWN = 32

function unknownParameter(given: string, known: readonly string[]): Refusal {
  return invalid(given.slice(0, LONGEST_SHOWN), `is no parameter here. There are: ${known.join(', ')}`)
}

function faulty({ parameter, rule }: UsageFault): Refusal {
  return invalid(parameter satisfies keyof UsageAsked, rule)
}

function invalid(param: string, rule: string): Refusal {
  return { kind: 'refusal', code: 'invalid_request', status: 400, param, message: `'${param}' ${rule}.` }
}

const NOT_FOUND: Refusal = {
  kind: 'refusal',
  code: 'not_found',
  status: 404,
  message: 'Nothing is served at this path. There are: /usage and /usage/requests/{id}.',
}

function csvResponse(text: string): HttpResponse {
  const headers = { 'content-type': 'text/csv; charset=utf-8', ...NO_STORE }
  return { kind: 'response', status: 200, headers, body: Buffer.from(text) }
}
