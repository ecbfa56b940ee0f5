import { hash } from 'node:crypto'
import type { Faults } from './faults.ts'

export interface ChatRequest {
  readonly messages?: readonly { readonly role?: string; readonly content?: unknown }[]
  readonly stream?: boolean
  readonly stream_options?: { readonly include_usage?: boolean }
  readonly max_tokens?: number
  readonly max_completion_tokens?: number
  readonly n?: number
}

/** A chat completion, before it is known whether it goes out whole or as a stream. */
export interface Completion {
  readonly id: string
  readonly created: number
  readonly model: string
  /** The text, in the pieces that a stream sends. */
  readonly pieces: readonly string[]
  readonly finish: string
  readonly choices: number
  readonly usage: object | undefined
}

const MAX_CHOICES = 128

/** The same request always gets the same completion, and each says that it is simulated. */
export function complete(body: ChatRequest, model: string, { words, finish, noUsage }: Faults): Completion {
  const { messages = [], n = 1 } = body
  const prompt = textOf(messages.findLast(({ role }) => role === 'user')?.content)
  const whole = words === undefined ? [...sentence(prompt)] : Array.from({ length: words }, (_, i) => `word${i} `)
  const most = body.max_completion_tokens ?? body.max_tokens ?? Number.POSITIVE_INFINITY
  const pieces = upTo(whole, most)
  const choices = Math.min(Math.max(1, Math.trunc(n) || 1), MAX_CHOICES)
  const prompt_tokens = tokens(JSON.stringify(messages))
  const completion_tokens = tokens(pieces.join('')) * choices
  return {
    id: `chatcmpl-simulated-${hash('sha256', JSON.stringify(messages), 'hex').slice(0, 16)}`,
    created: 0,
    model,
    pieces,
    finish: finish ?? (pieces.length < whole.length ? 'length' : 'stop'),
    choices,
    usage: noUsage ? undefined : { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens },
  }
}

/** The body of a plain answer. */
export function wholeAnswer({ pieces, finish, choices, usage, ...head }: Completion): object {
  const message = { role: 'assistant', content: pieces.join('') }
  return {
    ...head,
    object: 'chat.completion',
    choices: Array.from({ length: choices }, (_, index) => ({ index, message, finish_reason: finish })),
    usage,
  }
}

export interface ChatChunk {
  readonly chunk: object
  /** Whether it brings a piece of the text. */
  readonly isPiece: boolean
}

/** A stream's chunks. The usage comes last, in a chunk without choices, where it was asked for. */
export function* chunks(completion: Completion, { stream_options }: ChatRequest): Generator<ChatChunk> {
  const { pieces, finish, choices, usage, ...head } = completion
  const base = { ...head, object: 'chat.completion.chunk' }
  for (let index = 0; index < choices; index += 1) {
    const chunk = (delta: object, finish_reason: string | null = null) => ({
      ...base,
      choices: [{ index, delta, finish_reason }],
    })
    yield { chunk: chunk({ role: 'assistant', content: '' }), isPiece: false }
    for (const content of pieces) yield { chunk: chunk({ content }), isPiece: true }
    yield { chunk: chunk({}, finish), isPiece: false }
  }
  if (stream_options?.include_usage && usage !== undefined) {
    yield { chunk: { ...base, choices: [], usage }, isPiece: false }
  }
}

/** Four bytes a token, as English text has about. */
export function tokens(text: string): number {
  return Math.ceil(Buffer.byteLength(text) / 4)
}

function* sentence(prompt: string): Generator<string> {
  yield* `This is a simulated answer to: ${shorten(prompt)}`.split(/(?<= )/)
}

function upTo(pieces: readonly string[], mostTokens: number): string[] {
  const taken: string[] = []
  let text = ''
  for (const piece of pieces) {
    text += piece
    if (tokens(text) > mostTokens) break
    taken.push(piece)
  }
  return taken
}

/** A message's text, which may come in parts beside images. */
export function textOf(content: unknown): string {
  if (!Array.isArray(content)) return String(content ?? '')
  return content.map((part: { readonly text?: unknown }) => (typeof part?.text === 'string' ? part.text : '')).join('')
}

function shorten(text: string): string {
  const characters = [...text]
  return characters.length > 200 ? `${characters.slice(0, 200).join('')}…` : text
}
