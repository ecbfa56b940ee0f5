import { pipeline, Readable, Transform, type TransformCallback } from 'node:stream'
import * as zlib from 'node:zlib'
import type { ByteSource } from '../../pipeline/index.ts'

/** As many codings of one body as `fetch` undoes. */
const MAX_CODINGS = 5

/** What has come so far is passed on at once, and a body that ends early is given as far as it came, as `fetch` does. */
const AT_ONCE = { flush: zlib.constants.Z_SYNC_FLUSH, finishFlush: zlib.constants.Z_SYNC_FLUSH }

const DECODERS: Readonly<Record<string, () => Transform>> = {
  gzip: () => zlib.createGunzip(AT_ONCE),
  'x-gzip': () => zlib.createGunzip(AT_ONCE),
  deflate: () => new Inflate(),
  br: () =>
    zlib.createBrotliDecompress({
      flush: zlib.constants.BROTLI_OPERATION_FLUSH,
      finishFlush: zlib.constants.BROTLI_OPERATION_FLUSH,
    }),
}

/** What a request says that it takes. */
export const ACCEPTED_ENCODINGS = 'gzip, deflate, br'

/**
 * A body without its codings; as it is where one of them is unknown. It is unpacked no faster than it is read, so that a
 * body which unpacks to a thousand times its size fills no memory.
 *
 * @param encoding the `content-encoding` header
 */
export function decoded(body: ByteSource, encoding: string): ByteSource {
  const codings = encoding
    .toLowerCase()
    .split(',')
    .map((coding) => coding.trim())
  const decoders = codings
    .filter((coding) => coding !== '' && coding !== 'identity')
    .map((coding) => (Object.hasOwn(DECODERS, coding) ? DECODERS[coding] : undefined))
  if (decoders.length === 0 || decoders.length > MAX_CODINGS || decoders.includes(undefined)) return body
  const steps = decoders.toReversed().map((make) => make?.() as Transform)
  // The last step errs with what the first did, and a last step that is destroyed ends the first.
  const unpacked = pipeline([asReadable(body), ...steps], () => {}) as unknown as Readable
  return asSource(unpacked, body)
}

function asReadable(body: ByteSource): Readable {
  return new Readable({
    read() {
      body.read().then(
        (piece) => this.push(piece ?? null),
        (error) => this.destroy(error),
      )
    },
    destroy(error, done) {
      body.cancel(error)
      done(error)
    },
  })
}

/** @param packed what is cancelled with it, at once: a stream of Node's is destroyed a turn later */
function asSource(unpacked: Readable, packed: ByteSource): ByteSource {
  let wake: (() => void) | undefined
  let isCancelled = false
  const awake = () => {
    const reader = wake
    wake = undefined
    reader?.()
  }
  // It may break before the first read; the read is told.
  for (const event of ['readable', 'end', 'error', 'close']) unpacked.on(event, awake)
  return {
    async read() {
      for (;;) {
        if (isCancelled) return undefined
        const piece = unpacked.read() as Buffer | null
        if (piece !== null) return piece
        if (unpacked.errored) throw unpacked.errored
        if (unpacked.readableEnded || unpacked.destroyed) return undefined
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    },
    cancel(reason) {
      if (isCancelled) return
      isCancelled = true
      packed.cancel(reason)
      unpacked.destroy()
      awake()
    },
  }
}

/** `deflate` means a zlib wrapper, and some servers send none: the first byte tells. */
class Inflate extends Transform {
  private inner: zlib.Inflate | zlib.InflateRaw | undefined

  override _transform(chunk: Buffer, encoding: BufferEncoding, done: TransformCallback): void {
    if (this.inner === undefined && chunk.length > 0) {
      const isWrapped = ((chunk[0] ?? 0) & 0x0f) === 0x08
      this.inner = isWrapped ? zlib.createInflate(AT_ONCE) : zlib.createInflateRaw(AT_ONCE)
      this.inner.on('data', (unpacked: Buffer) => {
        if (!this.push(unpacked)) this.inner?.pause()
      })
      this.inner.on('error', (error) => this.destroy(error))
    }
    if (this.inner === undefined) done()
    else this.inner.write(chunk, encoding, done)
  }

  override _read(size: number): void {
    this.inner?.resume()
    super._read(size)
  }

  override _flush(done: TransformCallback): void {
    if (this.inner === undefined) done()
    else this.inner.once('end', () => done()).end()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.inner?.destroy()
    done(error)
  }
}
