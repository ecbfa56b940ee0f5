import { hash } from 'node:crypto'
import { promisify } from 'node:util'
import zlib, { type ZlibOptions, type ZstdOptions } from 'node:zlib'
import { tokensRead, tokensWritten, type Usage } from '../../pipeline/index.ts'
import { type CacheEntry, ownBytes, sizeOf } from '../entry.ts'
import { PACKING_DICTIONARY } from './packing-dictionary.ts'

/** Of an answer and its events together, in bytes. */
export const MAX_UNPACKED_BYTES = 16 * 1024 * 1024
export const MAX_PACKED_BYTES = 3 * 1024 * 1024

const VERSION = 1
/** Up to this size deflate with the dictionary is the smaller and the faster: 614 B in 44 µs of 1.6 KiB, zstd 891 B in 51. */
const MAX_DEFLATE_BYTES = 2 * 1024
/** Up to this size the work takes less than handing it to another thread, and above it would hold others up. */
const MAX_SYNC_BYTES = 64 * 1024
const ZSTD: ZstdOptions = { params: { [zlib.constants.ZSTD_c_compressionLevel]: 3 } }

/** Node has it since 22.15. An older one packs all by deflate, and what others packed by Zstandard is a miss to it. */
const HAS_ZSTD = typeof zlib.zstdCompress === 'function'

const STORED = 0
const DEFLATE = 1
const ZSTANDARD = 2

/*
 * Big-endian: version 1, codec 1, flags 1, storedAt 8, expiresAt 8, usage 3 × 8, the answer's length 4, the events' 4;
 * then answer and events, compressed together; then the SHA-256 of all before it. Times and usage are doubles.
 */
const HEAD_BYTES = 51
const DIGEST_BYTES = 32
const HAS_EVENTS = 1
const HAS_USAGE = 2
/** In the flags' upper bits, 1 more than the candidate's place; 0 for none, as from a version that didn't say. */
const CANDIDATE_SHIFT = 2
const MAX_CANDIDATE = 62

/** One string of bytes that holds all of an entry; `undefined` if the entry, or what it packs to, is too large. */
export async function pack(entry: CacheEntry): Promise<Uint8Array | undefined> {
  if (sizeOf(entry) > MAX_UNPACKED_BYTES) return undefined
  const { answer, events, usage } = entry
  const content = events === undefined ? answer : Buffer.concat([answer, events])
  const { codec, payload } = await compress(content)
  const length = HEAD_BYTES + payload.byteLength + DIGEST_BYTES
  if (length > MAX_PACKED_BYTES) return undefined

  const packed = Buffer.alloc(length)
  packed[0] = VERSION
  packed[1] = codec
  packed[2] =
    (events === undefined ? 0 : HAS_EVENTS) | (usage === undefined ? 0 : HAS_USAGE) | candidateBits(entry.candidate)
  packed.writeDoubleBE(entry.storedAt, 3)
  packed.writeDoubleBE(entry.expiresAt, 11)
  packed.writeDoubleBE(usage === undefined ? 0 : tokensRead(usage.tokens), 19)
  packed.writeDoubleBE(usage?.tokens.cachedInput ?? 0, 27)
  packed.writeDoubleBE(usage === undefined ? 0 : tokensWritten(usage.tokens), 35)
  packed.writeUInt32BE(answer.byteLength, 43)
  packed.writeUInt32BE(events?.byteLength ?? 0, 47)
  packed.set(payload, HEAD_BYTES)
  packed.set(digestOf(packed), length - DIGEST_BYTES)
  return packed
}

/** The entry, which shares no memory with the bytes; `undefined` if they are damaged, cut, or of another version. */
export async function unpack(bytes: Uint8Array): Promise<CacheEntry | undefined> {
  const packed = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (packed.length < HEAD_BYTES + DIGEST_BYTES || packed[0] !== VERSION) return undefined
  if (!digestOf(packed).equals(packed.subarray(-DIGEST_BYTES))) return undefined

  const flags = packed.readUInt8(2)
  const answerLength = packed.readUInt32BE(43)
  const length = answerLength + packed.readUInt32BE(47)
  const decompressed = await decompress(packed.readUInt8(1), packed.subarray(HEAD_BYTES, -DIGEST_BYTES), length)
  if (decompressed?.byteLength !== length) return undefined
  const content = ownBytes(decompressed)
  return {
    answer: content.subarray(0, answerLength),
    events: flags & HAS_EVENTS ? content.subarray(answerLength) : undefined,
    usage: flags & HAS_USAGE ? usageOf(packed) : undefined,
    candidate: flags >> CANDIDATE_SHIFT === 0 ? undefined : (flags >> CANDIDATE_SHIFT) - 1,
    storedAt: packed.readDoubleBE(3),
    expiresAt: packed.readDoubleBE(11),
  }
}

function candidateBits(candidate: number | undefined): number {
  return candidate === undefined || candidate > MAX_CANDIDATE ? 0 : (candidate + 1) << CANDIDATE_SHIFT
}

/** Of the kinds of tokens three are kept: enough to tell what a hit spared, as it is estimated. */
function usageOf(packed: Buffer): Usage {
  const cachedInput = packed.readDoubleBE(27)
  return { tokens: { input: packed.readDoubleBE(19) - cachedInput, cachedInput, output: packed.readDoubleBE(35) } }
}

function digestOf(packed: Buffer): Buffer {
  return hash('sha256', packed.subarray(0, -DIGEST_BYTES), 'buffer')
}

interface Compressed {
  readonly codec: number
  readonly payload: Uint8Array
}

/** Left as it is where compressing does not make it shorter. */
async function compress(content: Uint8Array): Promise<Compressed> {
  const codec = HAS_ZSTD && content.byteLength > MAX_DEFLATE_BYTES ? ZSTANDARD : DEFLATE
  const payload = codec === ZSTANDARD ? await zstdCompress(content) : await deflate(content)
  return payload.byteLength >= content.byteLength ? { codec: STORED, payload: content } : { codec, payload }
}

async function zstdCompress(content: Uint8Array): Promise<Uint8Array> {
  return content.byteLength <= MAX_SYNC_BYTES
    ? zlib.zstdCompressSync(content, ZSTD)
    : promisify<Uint8Array, ZstdOptions, Buffer>(zlib.zstdCompress)(content, ZSTD)
}

async function deflate(content: Uint8Array): Promise<Uint8Array> {
  return content.byteLength <= MAX_SYNC_BYTES
    ? zlib.deflateRawSync(content, { dictionary: PACKING_DICTIONARY })
    : promisify<Uint8Array, ZlibOptions, Buffer>(zlib.deflateRaw)(content, { dictionary: PACKING_DICTIONARY })
}

async function decompress(codec: number, payload: Buffer, length: number): Promise<Uint8Array | undefined> {
  if (length > MAX_UNPACKED_BYTES) return undefined
  // In one piece of that very size (zlib asks for 64 at least, and looks whether more follows).
  const bounds = { maxOutputLength: Math.max(1, length), chunkSize: Math.max(64, length + 1) }
  const inSync = length <= MAX_SYNC_BYTES
  try {
    if (codec === STORED) return new Uint8Array(payload)
    if (codec === DEFLATE) {
      const options = { ...bounds, dictionary: PACKING_DICTIONARY }
      return inSync
        ? zlib.inflateRawSync(payload, options)
        : await promisify<Uint8Array, ZlibOptions, Buffer>(zlib.inflateRaw)(payload, options)
    }
    if (codec !== ZSTANDARD || !HAS_ZSTD) return undefined
    return inSync
      ? zlib.zstdDecompressSync(payload, bounds)
      : await promisify<Uint8Array, ZstdOptions, Buffer>(zlib.zstdDecompress)(payload, bounds)
  } catch (error) {
    if (isOfZlib(error)) return undefined
    throw error
  }
}

/** What zlib throws at damaged bytes, or at bytes that unpack to more than they say. */
function isOfZlib(error: unknown): boolean {
  const { code } = error as { readonly code?: unknown }
  return typeof code === 'string' && /^(?:Z_|ZSTD_|ERR_BUFFER_TOO_LARGE$)/.test(code)
}
