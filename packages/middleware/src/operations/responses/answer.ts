import { SPEND_UNKNOWN, type Spend, type Usage } from '../../pipeline/index.ts'
import { isJson, type Json } from '../body.ts'
import { answerParsed, objectOf } from '../json-answer.ts'
import type { Answer, ParsedAnswer } from '../operation.ts'
import { toolName } from '../surcharges.ts'
import { codeOfError, isError } from '../told-error.ts'
import { isCount, isOfOutput, servedBy, usageOf as usageOfTokens } from '../usage.ts'

/** As much of a response as the gateway itself reads. */
export interface ResponseAnswer {
  readonly status?: unknown
  readonly output: readonly Json[]
  readonly usage?: unknown
  readonly error?: unknown
  readonly incomplete_details?: unknown
}

/** What a response says that it took; `undefined` where it says nothing that can be believed. */
export function usageOf(response: Json): Usage | undefined {
  const { usage: told } = response
  if (!isJson(told)) return undefined
  // The same numbers as a chat's, by other names.
  const tokens = usageOfTokens({
    ...told,
    prompt_tokens: told.input_tokens as number,
    completion_tokens: told.output_tokens as number,
    prompt_tokens_details: told.input_tokens_details,
    completion_tokens_details: told.output_tokens_details,
  })
  if (tokens === undefined) return undefined
  const toolCalls = toolCallsIn(response)
  return { ...tokens, ...servedBy(response), ...(toolCalls === undefined ? {} : { toolCalls }) }
}

/** Calls of hosted tools, by the tools' names in the request; `undefined` where the response doesn't tell its items. */
function toolCallsIn({ output, tools, tool_usage }: Json): Readonly<Record<string, number>> | undefined {
  if (!Array.isArray(output) || output.length === 0) return undefined
  const calls: Record<string, number> = {}
  for (const item of output) {
    const tool = CALL.exec(String(item?.type))?.[1]
    if (tool === undefined || OWN_CALLS.has(tool) || !isBilled(item)) continue
    const name = namedIn(tools, tool)
    calls[name] = (calls[name] ?? 0) + 1
  }
  const { num_requests: searches } = Object(Object(tool_usage).web_search)
  if (isCount(searches) && searches > 0) {
    const name = namedIn(tools, 'web_search')
    calls[name] = Math.max(calls[name] ?? 0, searches)
  }
  return calls
}

const CALL = /^([a-z_]+)_call$/
/** Calls of tools that the caller runs. */
const OWN_CALLS: ReadonlySet<string> = new Set(['function', 'custom_tool'])

/** Of a web search, the search is billed, and not the look at a page that it has found. */
function isBilled({ type, action }: Json): boolean {
  const did = Object(action).type
  return type !== 'web_search_call' || (did !== 'open_page' && did !== 'find_in_page' && did !== 'find')
}

/**
 * A tool's name as it was asked for, and is priced: `web_search_preview` calls `web_search` too. Where several may have been
 * called, one that nobody priced, which costs as much as the dearest.
 */
function namedIn(tools: unknown, tool: string): string {
  const types = new Set((Array.isArray(tools) ? tools : []).map((each) => toolName(each?.type)))
  const [first, ...others] = [...types].filter((type) => type === tool || type.startsWith(`${tool}_`))
  if (others.length > 0) return `${tool}, of several kinds`
  return first ?? tool
}

/**
 * What a 200's body is. It is an answer if it has output items, perhaps none of them yet at its length, and tells of no error:
 * neither of a failure, nor that it goes on in the background.
 */
export function parseAnswer(bytes: Buffer): ParsedAnswer {
  const json = objectOf(bytes.toString())
  const hasOutput = Array.isArray(json.output) && json.output.length > 0
  const spend = spendOf(usageOf(json), hasOutput)
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
function spendOf(usage: Usage | undefined, hasOutput: boolean): Spend {
  return usage === undefined ? SPEND_UNKNOWN : { usage, isCertain: !hasOutput || isOfOutput(usage) }
}
