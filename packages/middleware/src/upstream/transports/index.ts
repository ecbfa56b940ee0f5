import type { ConnectionCheck } from '../../policy/index.ts'
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
  /**
   * Of each connection: the gateway's own are checked by the policy's. Left out, a host may be on any address. A `fetch` that is
   * passed in makes its connections by itself, unchecked.
   */
  readonly check?: ConnectionCheck
  /** The longest that a connection may take to come about, in milliseconds; only of undici's. */
  readonly connectMs?: number | undefined
}

/** The way to models' services: by undici, or by a `fetch` that is passed in. */
export function connect({ fetch, connectMs, check, ...options }: ConnectOptions): Transport {
  if (fetch !== undefined) return fetchTransport({ ...options, fetch })
  return undiciTransport({ ...options, connectMs, ...(check && { check }) })
}
