/*
 * `node test/bench/packing.ts`: what packing a completion for the cache saves and costs, by codec. Prints a table.
 * The completions are made up; their text is the prose of this repository's own documentation.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  deflateRawSync,
  inflateRawSync,
  type ZstdOptions,
  constants as zlib,
  zstdCompressSync,
  zstdDecompressSync,
} from 'node:zlib'
import { PACKING_DICTIONARY } from '@tollgate/middleware'
import { ROOT } from '../support/host.ts'
import { machine } from './machine.ts'
import { spread } from './statistics.ts'

const KIB = 1024
const SIZES = [0.5, 1, 1.6, 4, 16, 64].map((kib) => Math.round(kib * KIB))
/** A different completion each time, so that nothing is measured that only the first would pay. */
const SAMPLES = 24
const ROUNDS = 5

const prose = readdirSync(join(ROOT, 'docs'))
  .filter((name) => name.endsWith('.md'))
  .map((name) => readFileSync(join(ROOT, 'docs', name), 'utf8'))
  .join('\n')

/** A random stream that is the same in each run (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

interface Completion {
  readonly answer: string
  readonly events: string
}

/** With as much prose as brings its answer, or its events, to a size. */
function completion(size: number, of: keyof Completion, random: () => number): Completion {
  const start = Math.floor(random() * prose.length)
  const text = (prose + prose).slice(start, start + size)
  const tokens = text.match(/ ?\p{L}{1,7}|\d{1,3}|\s+|[^\p{L}\d\s]+/gu) ?? []
  const id = `chatcmpl-${token(29, random)}`
  const fingerprint = `fp_${token(10, random).toLowerCase()}`
  const created = 1_790_000_000 + Math.floor(random() * 1e6)
  const make = (count: number) => complete(tokens.slice(0, count), { id, fingerprint, created, random })
  let count = tokens.length
  // Every token costs about the same, so a few steps come close.
  for (let step = 0; step < 6; step += 1) count = Math.max(1, Math.round((count * size) / make(count)[of].length))
  return make(count)
}

interface Head {
  readonly id: string
  readonly fingerprint: string
  readonly created: number
  readonly random: () => number
}

function complete(tokens: readonly string[], { id, fingerprint, created, random }: Head): Completion {
  const usage = {
    prompt_tokens: 20 + Math.floor(random() * 2000),
    completion_tokens: tokens.length,
    total_tokens: 0,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: {
      reasoning_tokens: 0,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  }
  const head = { created, model: 'gpt-4.1-mini-2025-04-14', service_tier: 'default', system_fingerprint: fingerprint }
  const message = { role: 'assistant', content: tokens.join(''), refusal: null, annotations: [] }
  const answer = {
    id,
    object: 'chat.completion',
    ...head,
    choices: [{ index: 0, message, logprobs: null, finish_reason: 'stop' }],
    usage,
  }
  const chunk = (delta: object, finish: string | null) =>
    `data: ${JSON.stringify({
      id,
      object: 'chat.completion.chunk',
      ...head,
      choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }],
      usage: null,
    })}\n\n`
  const events = [
    chunk({ role: 'assistant', content: '', refusal: null }, null),
    ...tokens.map((content) => chunk({ content }, null)),
    chunk({}, 'stop'),
    `data: ${JSON.stringify({ id, object: 'chat.completion.chunk', ...head, choices: [], usage })}\n\n`,
    'data: [DONE]\n\n',
  ]
  return { answer: JSON.stringify(answer), events: events.join('') }
}

function token(length: number, random: () => number): string {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'
  return Array.from({ length }, () => letters[Math.floor(random() * letters.length)]).join('')
}

interface Codec {
  readonly name: string
  readonly pack: (bytes: Buffer) => Buffer
  readonly unpack: (bytes: Buffer, length: number) => Buffer
}

const zstd = (name: string, level: number, dictionary?: Buffer): Codec => {
  const shared: ZstdOptions = dictionary === undefined ? {} : { dictionary }
  const params = { [zlib.ZSTD_c_compressionLevel]: level }
  return {
    name,
    pack: (bytes) => zstdCompressSync(bytes, { ...shared, params, pledgedSrcSize: bytes.length } as ZstdOptions),
    unpack: (bytes, length) => zstdDecompressSync(bytes, { ...shared, chunkSize: length + 1 }),
  }
}
const deflate = (name: string, options: { readonly dictionary?: Buffer; readonly level?: number }): Codec => ({
  name,
  pack: (bytes) => deflateRawSync(bytes, options),
  unpack: (bytes, length) => inflateRawSync(bytes, { ...options, chunkSize: Math.max(64, length + 1) }),
})

const CODECS: readonly Codec[] = [
  deflate('deflate-raw', {}),
  deflate('deflate-raw + dictionary', { dictionary: PACKING_DICTIONARY }),
  zstd('zstd 1', 1),
  zstd('zstd 3', 3),
  zstd('zstd 3 + dictionary', 3, PACKING_DICTIONARY),
]

/** Microseconds that a call takes: the median of rounds over all samples. */
function time<T>(samples: readonly T[], call: (sample: T) => void): number {
  const repeats = Math.max(1, Math.floor(20 / samples.length))
  const rounds = Array.from({ length: ROUNDS + 1 }, () => {
    const began = performance.now()
    for (let repeat = 0; repeat < repeats; repeat += 1) for (const sample of samples) call(sample)
    return ((performance.now() - began) * 1000) / (repeats * samples.length)
  })
  return spread(rounds.slice(1)).median
}

console.log('| entry | bytes | codec | packed | ratio | compress µs | decompress µs | both µs |')
console.log('|---|---|---|---|---|---|---|---|')
for (const form of ['answer', 'events'] as const) {
  for (const size of [...SIZES, ...(form === 'events' ? [256 * KIB] : [])]) {
    const random = randomFrom(size)
    const samples = Array.from({ length: SAMPLES }, () => {
      const { answer, events } = completion(size, form, random)
      return Buffer.from(form === 'answer' ? answer : answer + events)
    })
    const mean = (all: readonly Buffer[]) => all.reduce((sum, { length }) => sum + length, 0) / all.length
    for (const { name, pack, unpack } of CODECS) {
      const packed = samples.map((bytes) => ({ bytes: pack(bytes), length: bytes.length }))
      const whole = packed.every(({ bytes, length }, index) => samples[index]?.equals(unpack(bytes, length)))
      if (!whole) throw new Error(`${name} lost something`)
      const compress = time(samples, pack)
      const decompress = time(packed, ({ bytes, length }) => unpack(bytes, length))
      const length = mean(packed.map(({ bytes }) => bytes))
      const cells = [
        form === 'answer' ? 'plain' : 'with its events',
        mean(samples).toFixed(0),
        name,
        length.toFixed(0),
        (mean(samples) / length).toFixed(2),
        compress.toFixed(0),
        decompress.toFixed(0),
        (compress + decompress).toFixed(0),
      ]
      console.log(`| ${cells.join(' | ')} |`)
    }
  }
}
console.log(`\nMeasured on ${machine()}, Node ${process.version}.`)
