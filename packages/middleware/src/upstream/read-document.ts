import { growingBytes, loadUndici, OperatorError } from '../pipeline/index.ts'
import { type ConnectionCheck, isLoopback } from '../policy/index.ts'
import { type Environment, type WayOut, wayOut } from './transports/proxy.ts'

export interface ReadDocumentOptions {
  /** Of each connection. */
  readonly check: ConnectionCheck
  /** The longest that a connection may take to come about, in milliseconds. */
  readonly connectMs?: number | undefined
  readonly env?: () => Environment
}

/** In bytes; the keys of the largest issuers have some tens of thousands. */
const MOST_BYTES = 256 * 1024

/**
 * Reads small documents at URLs that a policy names, or that a document names which was read so: by GET, over https but on this
 * machine, past the egress check, and a plain 200 alone: no redirect is followed.
 */
export function documentReader({ check, connectMs, env = () => process.env }: ReadDocumentOptions) {
  let way: WayOut | undefined

  /** @throws OperatorError for every answer but that; what a connection throws, and the signal's reason */
  return async function readDocument(address: string, signal: AbortSignal): Promise<string> {
    const url = URL.parse(address)
    if (url === null || url.username !== '' || url.password !== '') {
      throw new OperatorError('A document is to be read at what is no plain URL.')
    }
    if (url.protocol !== 'https:' && !isLoopback(url)) throw new OperatorError(`'${url.hostname}' needs https.`)
    check.host(url.hostname)
    const undici = await loadUndici()
    way ??= wayOut(undici, env(), connectMs, check)
    return read(way, url, signal)
  }
}

function read(way: WayOut, url: URL, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    let status = 0
    const bytes = growingBytes(MOST_BYTES)
    let connection: { abort(reason: Error): void } | undefined
    const end = () => {
      connection?.abort(signal.reason)
      reject(signal.reason)
    }
    const settled = () => signal.removeEventListener('abort', end)
    if (signal.aborted) return end()
    signal.addEventListener('abort', end)
    way.dispatcherFor(url).dispatch(
      {
        origin: url.origin,
        path: url.pathname + url.search,
        method: 'GET',
        headers: ['accept', 'application/json'],
        // Documents are read minutes apart: a kept connection would mostly be one that its other end has closed.
        reset: true,
      },
      {
        onRequestStart(controller) {
          if (signal.aborted) return controller.abort(signal.reason)
          connection = controller
        },
        onResponseStart(controller, code) {
          if (code < 200) return
          status = code
          // The body of another answer is nobody's.
          if (code !== 200) controller.abort(new OperatorError(`'${url.hostname}' answered ${code}.`))
        },
        onResponseData(controller, chunk) {
          if (bytes.append(chunk)) return
          controller.abort(new OperatorError(`'${url.hostname}' answered more than ${MOST_BYTES / 1_024} KiB.`))
        },
        onResponseEnd() {
          settled()
          if (status === 200) resolve(bytes.view().toString('utf8'))
        },
        onResponseError(_controller, error) {
          settled()
          reject(error)
        },
      },
    )
  })
}
