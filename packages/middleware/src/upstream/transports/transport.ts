import type { ByteSource } from '../../pipeline/index.ts'
import type { JsonObject, TargetSettings, Translation, Untranslatable } from '../../targets/index.ts'

/** How far a call has come. The transport that makes it notes it here, for the case that the call fails. */
export interface CallProgress {
  /** Where the request goes: without a user name, and of its query only the API's version. */
  url?: string
  /** Whether a part of the request may have left this process. Left out where none has. */
  sent?: true
}

export interface SendOptions {
  /** Ends the call at once, and the reading of the answer's body, which then rejects with the signal's reason. */
  readonly signal: AbortSignal
  /** Visible ASCII. Sent as `x-request-id`; `undefined` for none. */
  readonly requestId?: string
  /** Of the caller's own headers, those that go on, and those of its trace: names in lower case and values, by turns. */
  readonly forwarded?: readonly string[]
  readonly progress: CallProgress
}

/** Headers of an answer, by their names in lower case; several of one name as a list. */
export type AnswerHeaders = Readonly<Record<string, string | readonly string[] | undefined>>

/** What a model's service answers, whatever its status: no `Response`, and no web stream on the way. */
export interface TransportAnswer {
  readonly status: number
  readonly headers: AnswerHeaders
  /** Without its content codings. Read no faster than it is asked for; its cancel ends the connection at once. */
  readonly body: ByteSource
}

/** How requests get to a model's service. It never follows a redirect, which could carry the key to another host. */
export interface Transport {
  /**
   * Loads what a first call needs (packages, which take tenths of a second), so that loading counts toward no call's deadline.
   * `undefined` where nothing is to be loaded.
   */
  prepare?(target: TargetSettings, operation: { readonly path: string }): Promise<unknown> | undefined
  /** How a request is told to a target with a wire format of its own; `undefined` for one that is asked in OpenAI's. */
  translation?(
    target: TargetSettings,
    operation: { readonly path: string },
    body: JsonObject,
  ): Translation | Untranslatable | undefined
  /**
   * @param operation its `path` under the target's base URL
   * @param body `undefined` for a GET
   * @throws ConnectionFailed; the signal's reason; a fault of our own
   */
  send(
    target: TargetSettings,
    operation: { readonly path: string },
    body: Uint8Array | undefined,
    options: SendOptions,
  ): Promise<TransportAnswer>
}

export function headerOf(headers: AnswerHeaders, name: string): string | undefined {
  const value = headers[name]
  return typeof value === 'object' ? value.join(', ') : value
}

/** A URL as a log may show it. A query can hold a key. */
export function shownUrl(url: string | URL): string {
  const parsed = URL.parse(String(url))
  if (parsed === null) return 'no URL'
  const version = parsed.searchParams.get('api-version')
  const query = version === null ? '' : `?api-version=${encodeURIComponent(version)}`
  return parsed.origin + parsed.pathname + query
}
