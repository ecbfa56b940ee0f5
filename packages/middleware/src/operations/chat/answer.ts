import type { TokenUsage } from '../../pipeline/index.ts'
import { isWithinBounds } from '../json-bounds.ts'
import { codeOfError, errorIn } from './answer-error.ts'
import { isContent } from './answer-text.ts'
import { carriesOutput } from './output-tokens.ts'
import { isOfOutput, usageOf } from './usage.ts'

/** As much of OpenAI's chat completion as the gateway itself reads. */
export interface ChatAnswer {
  readonly model?: unknown
  readonly choices: readonly ChatChoice[]
  readonly usage?: ChatUsage
}

/** As a model tells it: nothing in it is checked. */
export interface ChatUsage {
  readonly prompt_tokens?: number
  readonly completion_tokens?: number
  readonly total_tokens?: number
  readonly prompt_tokens_details?: { readonly cached_tokens?: number } | null
  readonly input_tokens_details?: { readonly cached_tokens?: number } | null
  readonly prompt_cache_hit_tokens?: number
  readonly cached_tokens?: number
  readonly cache_read_input_tokens?: number
}

export interface ChatChoice {
  readonly message: { readonly content?: unknown; readonly refusal?: unknown }
  readonly finish_reason?: unknown
}

/**
 * The chat completion in a 200's text; `undefined` if there is none: bad JSON, an error body, no choices, or more levels or
 * values than a completion has. What it returns can be written as JSON again.
 */
export function parseAnswer(text: string): ChatAnswer | undefined {
  const answer = parseObject(text)
  return answer !== undefined && isAnswer(answer) ? answer : undefined
}

/** The same, if each content in it can be told (a text, none, or parts) and it tells of no error. */
export function readAnswer(text: string): ChatAnswer | undefined {
  const answer = parseAnswer(text)
  if (answer === undefined || errorIn(answer) !== undefined) return undefined
  return answer.choices.every(({ message }) => isContent(message.content)) ? answer : undefined
}

/** Why a 200 is no completion: the code of the error that it tells of, or `invalid_response`. */
export function failureOfAnswer(text: string): { readonly code: string } {
  return { code: codeOfError(errorIn(parseObject(text) ?? {})) ?? 'invalid_response' }
}

/** What a 200 that is no completion tells of its usage, since that is billed nonetheless. */
export function usageWithoutAnswer(text: string): ToldUsage | undefined {
  const body = parseObject(text)
  const usage = usageOf(body?.usage as ChatUsage | undefined)
  const isEmpty = !Array.isArray(body?.choices) || body.choices.length === 0
  return usage && { usage, isCertain: isEmpty || isOfOutput(usage) }
}

export interface ToldUsage {
  readonly usage: TokenUsage
  /** `false` where no tokens are told beside text: nobody knows what it took. */
  readonly isCertain: boolean
}

/** What an answer tells that it took; `undefined` where it says nothing that can be believed. */
export function usageOfAnswer({ choices, usage: told }: ChatAnswer): ToldUsage | undefined {
  const usage = usageOf(told)
  const hasOutput = choices.some(({ message }) => carriesOutput(message))
  return usage && { usage, isCertain: !hasOutput || isOfOutput(usage) }
}

function parseObject(text: string): Partial<ChatAnswer> | undefined {
  if (!isWithinBounds(text)) return undefined
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

function isAnswer(body: Partial<ChatAnswer>): body is ChatAnswer {
  const { choices } = body
  if (!Array.isArray(choices) || choices.length === 0) return false
  return choices.every((choice) => isMessage(choice?.message))
}

function isMessage(message: unknown): boolean {
  return typeof message === 'object' && message !== null && !Array.isArray(message)
}
