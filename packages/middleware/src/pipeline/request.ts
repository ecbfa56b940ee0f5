/** A request as the rooms see it: fetch-like, read-only, and free of any host's types. */
export interface GatewayRequest {
  readonly method: string
  readonly url: URL
  readonly headers: Headers
  readonly body: ReadableStream<Uint8Array> | null
  /** The client's address as the nearest proxy saw it; limits what an unknown client may cost. */
  readonly clientAddress: string
  /** Aborts when the client has left. */
  readonly signal: AbortSignal
}
