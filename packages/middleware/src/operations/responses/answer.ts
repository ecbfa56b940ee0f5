import { SPEND_UNKNOWN, type Spend, type TokenUsage } from '../../pipeline/index.ts'
import { isJson, type Json } from '../body.ts'
import { answerParsed, objectOf } from '../json-answer.ts'
import type { Answer, ParsedAnswer } from '../operation.ts'
import { isCount, isOfOutput } from '../token-usage.ts'
import { codeOfError, isError } from '../told-error.ts'

/** As much of a response as the gateway itself reads. */
export interface ResponseAnswer {
  readonly status?: unknown
  readonly output: readonly Json[]
  readonly usage?: unknown
  readonly error?: unknown
  readonly incomplete_details?: unknown
}

/** As a service tells it: nothing in it is checked. */
interface ResponseUsage {
  readonly input_tokens?: unknown
  readonly output_tokens?: unknown
  readonly total_tokens?: unknown
  readonly input_tokens_details?: { readonly cached_tokens?: unknown } | null
}

/** What a response says that it took; `undefined` where it says nothing that can be believed. */
export function usageOf(told: unknown): TokenUsage | undefined {
  if (!isJson(told)) return undefined
  const {
    input_tokens: input,
    output_tokens: output,
    total_tokens: total,
    input_tokens_details,
  } = told as ResponseUsage
  if (!isCount(input) || !isCount(output)) return undefined
  const cached = input_tokens_details?.cached_tokens
  return {
    input,
    cachedInput: isCount(cached) ? Math.min(cached, input) : 0,
    output: isCount(total) ? Math.max(output, total - input) : output,
  }
}

/**
 * What a 200's body is. It is an answer if it has output items, perhaps none of them yet at its length, and tells of no error:
 * neither of a failure, nor that it goes on in the background.
 */
export function parseAnswer(bytes: Buffer): ParsedAnswer {
  const json = objectOf(bytes.toString())
  const hasOutput = Array.isArray(json.output) && json.output.length > 0
  const spend = spendOf(usageOf(json.usage), hasOutput)
  if (isAnswer(json)) return { kind: 'answer', answer: answerParsed(bytes, json, spend.usage), spend }
  return { kind: 'failure', failure: { code: failureCode(json) }, spend }
}

/** States of a response that has not ended, or not with an answer. */
const NO_ANSWER: ReadonlySet<unknown> = new Set(['failed', 'cancelled', 'queued', 'in_progress'])

/** Whether a response is an answer: whole, or cut at its length or by a filter. */
export function isAnswer({ output, error, status }: Json): boolean {
  return Array.isArray(output) && output.every(isJson) && !isError(error) && !NO_ANSWER.has(status)
}

/** The code by which a response's failure may be known. */
export function failureCode({ error, status }: Json): string {
  const code = isError(error) ? codeOfError(error) : undefined
  return code ?? (status === 'failed' || status === 'cancelled' ? `response_${status}` : 'invalid_response')
}

/** Items that are an answer's own words. All others call tools, or are what came of it. */
const WORDS: ReadonlySet<unknown> = new Set(['message', 'reasoning'])

/** Whether an answer is whole, or ended at its length, and calls no tools unless `tools` are stored. */
export function isStorable(answer: Answer, { tools }: { readonly tools: boolean }): boolean {
  const { status, output, error, incomplete_details } = answer.json() as unknown as ResponseAnswer
  if (isError(error) || !(tools || output.every(({ type }) => WORDS.has(type)))) return false
  if (status === 'completed') return true
  return status === 'incomplete' && isJson(incomplete_details) && incomplete_details.reason === 'max_output_tokens'
}

/** What a 200 tells that it took. Not certain where it has output and tells of no tokens. */
function spendOf(usage: TokenUsage | undefined, hasOutput: boolean): Spend {
  return usage === undefined ? SPEND_UNKNOWN : { usage, isCertain: !hasOutput || isOfOutput(usage) }
}
