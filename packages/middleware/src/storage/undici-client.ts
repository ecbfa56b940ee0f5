import type { HttpClient, PipelineRequest, PipelineResponse } from '@azure/core-rest-pipeline'
import type { Dispatcher, Pool } from 'undici'
import type * as Sdk from './sdk.ts'

/** The most that is read of an answer, in bytes: a row has 1 MiB at most, which is a third more in base64. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024

/** The code of an answer that is cut at its bound. */
export const ANSWER_TOO_LONG = 'ANSWER_TOO_LONG'

/** undici's codes, or names where it gives no code, in the words of Node, which are those that logs have. */
const CODES: Readonly<Record<string, string>> = {
  UND_ERR_SOCKET: 'ECONNRESET',
  UND_ERR_CONNECT_TIMEOUT: 'ETIMEDOUT',
  UND_ERR_HEADERS_OVERFLOW: 'HPE_HEADER_OVERFLOW',
  HTTPParserError: 'HPE_INVALID_CONSTANT',
}

type Raw = Readonly<Record<string, string | readonly string[] | undefined>>

/**
 * An HTTP client for Azure's SDK, on undici: it costs a tenth of the SDK's own. Each request is sent once. An aborted signal
 * ends its connection at once, and one that has no connection yet is never sent.
 *
 * @param pool of the host that all requests go to
 */
export function undiciClient(pool: Pool, sdk: Pick<typeof Sdk, 'RestError' | 'createHttpHeaders'>): HttpClient {
  return { sendRequest: (request) => new Promise((resolve, reject) => send(request, resolve, reject)) }

  function send(request: PipelineRequest, resolve: (answer: PipelineResponse) => void, reject: (error: Error) => void) {
    const signal = request.abortSignal
    if (signal?.aborted) return reject(aborted())
    let connection: Dispatcher.DispatchController | undefined
    let status = 0
    let headers: Raw = {}
    let length = 0
    const chunks: Buffer[] = []

    const giveUp = () => {
      const reason = aborted()
      connection?.abort(reason)
      // undici does not tell one that still waits for its connection.
      reject(reason)
    }
    const settled = () => signal?.removeEventListener('abort', giveUp)
    signal?.addEventListener('abort', giveUp)

    pool.dispatch(outgoing(request), {
      onRequestStart(controller) {
        if (signal?.aborted) controller.abort(aborted())
        else connection = controller
      },
      onResponseStart(_controller, code, incoming) {
        if (code < 200) return
        status = code
        headers = incoming
      },
      onResponseData(controller, chunk) {
        length += chunk.length
        if (length <= MAX_ANSWER_BYTES) chunks.push(chunk)
        else controller.abort(tooLong())
      },
      onResponseEnd() {
        settled()
        const [first = EMPTY] = chunks
        const body = chunks.length > 1 ? Buffer.concat(chunks, length) : first
        resolve({ request, status, headers: sdk.createHttpHeaders(joined(headers)), bodyAsText: body.toString() })
      },
      onResponseError(_controller, error) {
        settled()
        if (signal?.aborted) return reject(error)
        // As the SDK calls it when a body breaks off.
        const code = status === 0 ? codeOf(error) : isTooLong(error) ? ANSWER_TOO_LONG : sdk.RestError.PARSE_ERROR
        reject(new sdk.RestError(error.message, { code: code ?? sdk.RestError.REQUEST_SEND_ERROR }))
      },
    })
  }
}

function tooLong(): Error {
  const message = `The answer of the table service is longer than ${MAX_ANSWER_BYTES} bytes`
  return Object.assign(new Error(message), { code: ANSWER_TOO_LONG })
}

function isTooLong({ code }: NodeJS.ErrnoException): boolean {
  return code === ANSWER_TOO_LONG
}

function codeOf({ code, name }: NodeJS.ErrnoException): string | undefined {
  return CODES[code ?? name] ?? code
}

const EMPTY = Buffer.alloc(0)

function outgoing({ url, method, headers, body }: PipelineRequest): Dispatcher.DispatchOptions {
  // The path as it is: a URL object would cost more than all else here.
  const path = url.slice(url.indexOf('/', url.indexOf('://') + 3))
  return { path, method, headers: headers.toJSON(), body: (body as string | undefined) ?? null }
}

function joined(headers: Raw): Record<string, string> {
  const flat: Record<string, string> = {}
  for (const name in headers) flat[name] = String(headers[name])
  return flat
}

function aborted(): DOMException {
  return new DOMException('The operation was aborted.', 'AbortError')
}
