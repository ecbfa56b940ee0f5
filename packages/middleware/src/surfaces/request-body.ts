import { type GatewayRequest, growingBytes } from '../pipeline/index.ts'

/** Each piece of a body costs about 2 µs, however small it is: a body of 1 MiB in single bytes would take 2 s. */
const MAX_SMALL_PIECES = 16_384
/** Bytes of a piece, on average, from which on any number of them is read. */
const SMALL_PIECE_BYTES = 16

/** Why a body was not read to its end. */
export type BodyRefused = 'too large' | 'too many pieces'

/**
 * Reads a body once, into one buffer. A declared `Content-Length` over the bound is refused unread, and a body that turns
 * out longer than it said is dropped where it passes the bound; so is one that comes in more than 16,384 pieces of less
 * than 16 bytes on average. `ended` if the client broke off its upload, or the request's signal aborts.
 */
export async function readBody(request: GatewayRequest, maxBytes: number): Promise<Uint8Array | BodyRefused | 'ended'> {
  const { body, signal, headers } = request
  if (Number(headers.get('content-length') ?? 0) > maxBytes) return 'too large'
  const bytes = growingBytes(maxBytes)
  if (body === null) return bytes.view()
  let end = () => {}
  const abort = () => end()
  signal.addEventListener('abort', abort)
  /** Nothing but the client's connection can fail here. */
  const next = () =>
    new Promise<Uint8Array | undefined | 'ended'>((resolve) => {
      end = () => resolve('ended')
      if (signal.aborted) end()
      else body.read().then(resolve, end)
    })
  try {
    for (let pieces = 1; ; pieces += 1) {
      const piece = await next()
      // Not cancelled: an answer may still go out by the same connection.
      if (piece === 'ended') return 'ended'
      if (piece === undefined) return bytes.view()
      const refused = bytes.append(piece) ? undefined : 'too large'
      const isDribble = pieces > MAX_SMALL_PIECES && bytes.length < pieces * SMALL_PIECE_BYTES
      if (refused === undefined && !isDribble) continue
      // The rest is dropped.
      body.cancel()
      return refused ?? 'too many pieces'
    }
  } finally {
    signal.removeEventListener('abort', abort)
  }
}
