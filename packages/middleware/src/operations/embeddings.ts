import { type ModelRules, SPEND_UNKNOWN, type Spend, type Usage } from '../pipeline/index.ts'
import { type Body, isJson, type Json } from './body.ts'
import { listIn } from './conversation.ts'
import { estimatedTokens } from './estimated-tokens.ts'
import { answerOf, answerParsed, objectOf } from './json-answer.ts'
import { noStreams } from './no-streams.ts'
import type { Answer, Bounds, Operation, ParsedAnswer, Surcharges } from './operation.ts'
import { tierAsked } from './surcharges.ts'
import { codeOfError, isError } from './told-error.ts'
import { isCount, servedBy } from './usage.ts'

/** The most inputs of one request, as OpenAI has it. */
export const MAX_INPUTS = 2_048

/** 2,048 vectors of 3,072 numbers in base64, as OpenAI's clients ask for them, and what stands around them. */
const MAX_ANSWER_BYTES = 36 * 1024 * 1024
/** Values of an answer's JSON: as many as 2,048 vectors of 1,536 numbers each, and what stands around them. */
const MAX_VALUES = 4_000_000

/** What is to be embedded: texts, or the tokens of texts. */
export interface EmbeddingInputs {
  readonly count: number
  /** Exact; `undefined` where the inputs are texts. */
  readonly tokens: number | undefined
}

/** The inputs of a request; `undefined` where `input` is neither a text, nor tokens, nor a list of the one or the other. */
export function inputsIn(input: unknown): EmbeddingInputs | undefined {
  if (typeof input === 'string') return { count: 1, tokens: undefined }
  if (!Array.isArray(input) || input.length === 0) return undefined
  if (input.every((each) => typeof each === 'string')) return { count: input.length, tokens: undefined }
  if (isTokens(input)) return { count: 1, tokens: input.length }
  if (!input.every((each) => Array.isArray(each) && isTokens(each))) return undefined
  return { count: input.length, tokens: input.reduce((sum, { length }) => sum + length, 0) }
}

function isTokens(list: readonly unknown[]): boolean {
  return list.length > 0 && list.every(isCount)
}

/** Fields that hold no input by reference. */
const BOUNDED: ReadonlySet<string> = new Set([
  'model',
  'input',
  'encoding_format',
  'dimensions',
  'user',
  'service_tier',
])

/**
 * The most tokens that a request's input is: as many as it says where it is tokens, else its bytes, of which each token is one at
 * the least. A model's context window is that of each input. Nothing is generated.
 */
function bounds({ bytes, json }: Body, { contextWindow }: Pick<ModelRules, 'contextWindow'>): Bounds {
  const inputs = inputsIn(json.input)
  const field = inputs === undefined ? 'input' : unboundedField(json)
  const most = inputs === undefined || contextWindow === undefined ? undefined : inputs.count * contextWindow
  const told = field === undefined ? (inputs?.tokens ?? bytes.length) : undefined
  const input = told === undefined ? most : Math.min(told, most ?? told)
  return { input, unboundedField: field, output: 0, choices: 1 }
}

/** Exact where the inputs are tokens. */
function estimatedInput({ json: { input } }: Body): number {
  const inputs = inputsIn(input)
  if (inputs?.tokens !== undefined) return inputs.tokens
  let bytes = 0
  for (const text of typeof input === 'string' ? [input] : listIn(input)) {
    if (typeof text === 'string') bytes += Buffer.byteLength(text)
  }
  return estimatedTokens(bytes)
}

/** A field that we have never heard of may hold input, unless it holds a mere number, `true` or `false`. */
function unboundedField(body: Json): string | undefined {
  return Object.keys(body).find((field) => {
    const value = body[field]
    return !BOUNDED.has(field) && (typeof value === 'string' || (typeof value === 'object' && value !== null))
  })
}

/** `user` tells the service who asks, and changes no number. */
function fingerprinted({ json }: Body): Json {
  const { user: _user, ...asked } = json
  return asked
}

/** What a 200's body is. It is an answer if it has vectors, as numbers or as text in base64, and tells of no error. */
function parse(bytes: Buffer): ParsedAnswer {
  const json = objectOf(bytes.toString(), MAX_VALUES)
  const usage = usageOf(json)
  const spend: Spend = usage === undefined ? SPEND_UNKNOWN : { usage, isCertain: true }
  if (isAnswer(json)) return { kind: 'answer', answer: answerParsed(bytes, json, usage), spend }
  const code = isError(json.error) ? codeOfError(json.error) : codeOfError({ code: json.code })
  return { kind: 'failure', failure: { code: code ?? 'invalid_response' }, spend }
}

function isAnswer({ data, error }: Json): boolean {
  return Array.isArray(data) && data.length > 0 && !isError(error) && data.every(isEmbedding)
}

function isEmbedding(element: unknown): boolean {
  if (!isJson(element)) return false
  const { embedding } = element
  return typeof embedding === 'string' || (Array.isArray(embedding) && embedding.every(Number.isFinite))
}

/** What an answer says that it took; `undefined` where it says nothing that can be believed. Some services tell the total alone. */
function usageOf(answer: Json): Usage | undefined {
  const { usage: told } = answer
  if (!isJson(told)) return undefined
  const counts = [told.prompt_tokens, told.total_tokens].filter(isCount)
  const input = Math.max(0, ...counts)
  // No input is no tokens at all.
  return input === 0 ? undefined : { tokens: { input }, ...servedBy(answer) }
}

/** Whether there is a vector for each input. */
function isStorable(answer: Answer, { body }: { readonly body: Body }): boolean {
  const { data } = answer.json() as { readonly data: readonly unknown[] }
  return data.length === inputsIn(body.json.input)?.count
}

function surcharges({ json }: Body): Surcharges {
  return { tier: tierAsked(json.service_tier), toolCalls: {}, kinds: [] }
}

/** OpenAI's embeddings. Nothing is generated, so there is nothing to bound in an answer. */
export const embeddings: Operation = {
  name: 'embeddings',
  path: '/embeddings',
  forwards: [],
  bounded: (body) => body,
  bounds,
  estimatedInput,
  surcharges,
  withOutput: (body) => body,
  fingerprinted,
  isSampled: () => false,
  offersTools: () => false,
  parse,
  answerOf,
  isStorable,
  maxAnswerBytes: MAX_ANSWER_BYTES,
  ...noStreams,
}
