import { fetchTransport } from './fetch.ts'
import type { RequestBuilderOptions } from './request-builder.ts'
import type { Transport } from './transport.ts'
import { undiciTransport } from './undici.ts'

export { ConnectionFailed } from './connection-failed.ts'
export {
  type AnswerHeaders,
  type CallProgress,
  headerOf,
  type SendOptions,
  shownUrl,
  type Transport,
  type TransportAnswer,
} from './transport.ts'

export interface ConnectOptions extends RequestBuilderOptions {
  /** Another way to send requests than undici's. */
  readonly fetch?: typeof fetch
  /** The longest that a connection may take to come about, in milliseconds; only of undici's. */
  readonly connectMs?: number | undefined
}

/** The way to models' services: by undici, or by a `fetch` that is passed in. */
export function connect({ fetch, connectMs, ...options }: ConnectOptions): Transport {
  return fetch === undefined ? undiciTransport({ ...options, connectMs }) : fetchTransport({ ...options, fetch })
}
