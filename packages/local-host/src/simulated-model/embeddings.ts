import { hash } from 'node:crypto'
import { tokens } from './chat.ts'

export interface EmbeddingsRequest {
  readonly input?: unknown
  readonly dimensions?: number
  readonly encoding_format?: 'float' | 'base64'
}

const DIMENSIONS = 1536
const MAX_DIMENSIONS = 4096

/** A vector of length 1 for each input: the same for the same input. `undefined` where there is none. */
export function embed({ input, dimensions, encoding_format }: EmbeddingsRequest, model: string): object | undefined {
  const inputs = inputsOf(input)
  if (inputs.length === 0) return undefined
  const size = Math.min(Math.max(1, Math.trunc(dimensions ?? DIMENSIONS) || DIMENSIONS), MAX_DIMENSIONS)
  const data = inputs.map((text, index) => {
    const values = vector(text, size)
    const embedding = encoding_format === 'base64' ? Buffer.from(values.buffer).toString('base64') : [...values]
    return { object: 'embedding', index, embedding }
  })
  const prompt_tokens = inputs.reduce((sum, text) => sum + tokens(text), 0)
  return { object: 'list', data, model, usage: { prompt_tokens, total_tokens: prompt_tokens } }
}

/** One text, several, or the same in tokens. */
function inputsOf(input: unknown): string[] {
  if (typeof input === 'string') return [input]
  if (!Array.isArray(input) || input.length === 0) return []
  return typeof input[0] === 'number' ? [JSON.stringify(input)] : input.map((each) => textOf(each))
}

const textOf = (each: unknown) => (typeof each === 'string' ? each : JSON.stringify(each))

function vector(text: string, size: number): Float32Array {
  const values = new Float32Array(size)
  for (let at = 0; at < size; at += 16) {
    const bytes = hash('sha256', `${at} ${text}`, 'buffer')
    for (let i = 0; i < 16 && at + i < size; i += 1) values[at + i] = bytes.readInt16LE(i * 2)
  }
  const length = Math.hypot(...values) || 1
  return values.map((value) => value / length)
}
