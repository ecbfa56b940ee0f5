import { SPEND_UNKNOWN, type Spend } from '../../pipeline/index.ts'
import { type Body, isJson, type Json } from '../body.ts'
import { answerParsed, objectOf } from '../json-answer.ts'
import type { Answer, ParsedAnswer } from '../operation.ts'
import { codeOfError, isError } from '../told-error.ts'
import { type ChatUsage, isOfOutput, servedBy, usageOf } from '../usage.ts'
import { type ChatDelta, carriesOutput, isContent } from './message.ts'

/** As much of OpenAI's chat completion as the gateway itself reads. */
export interface ChatAnswer {
  readonly model?: unknown
  readonly choices: readonly ChatChoice[]
  readonly usage?: ChatUsage
}

export interface ChatChoice {
  readonly message: ChatDelta
  readonly finish_reason?: unknown
}

/**
 * What a 200's body is. It is an answer if it has choices, tells of no error, and each content in it can be told (a text,
 * none, or parts). It is none if it is bad JSON, or has more levels or values than a completion has.
 */
export function parseAnswer(bytes: Buffer): ParsedAnswer {
  const json = objectOf(bytes.toString())
  const error = errorIn(json)
  if (error === undefined && isAnswer(json)) {
    const spend = spendOf(
      json,
      (json as unknown as ChatAnswer).choices.some(({ message }) => carriesOutput(message)),
    )
    return { kind: 'answer', answer: answerParsed(bytes, json, spend.usage), spend }
  }
  // Choices that can't be told may hold anything. They are billed nonetheless.
  const spend = spendOf(json, Array.isArray(json.choices) && json.choices.length > 0)
  return { kind: 'failure', failure: { code: codeOfError(error) ?? 'invalid_response' }, spend }
}

/** Ends that make an answer whole: by itself, or at its length. Anything else, a filter's cut among them, is no answer. */
const WHOLE: ReadonlySet<unknown> = new Set(['stop', 'length'])
const CALLS: ReadonlySet<unknown> = new Set(['tool_calls', 'function_call'])

/** Whether all choices that were asked for are there and whole, and none calls a tool unless `tools` are stored. */
export function isStorable(answer: Answer, { body, tools }: { readonly body: Body; readonly tools: boolean }): boolean {
  const { choices, error } = answer.json() as unknown as ChatAnswer & { readonly error?: unknown }
  if (error) return false
  if (Number.isInteger(body.json.n) && choices.length !== body.json.n) return false
  return choices.every((choice) => {
    if (WHOLE.has(choice.finish_reason)) return tools || !callsTools(choice)
    return tools && CALLS.has(choice.finish_reason)
  })
}

/** Some services end a call of a tool with `stop`. */
function callsTools({ message: { tool_calls, function_call } }: ChatChoice): boolean {
  return (Array.isArray(tool_calls) && tool_calls.length > 0) || Boolean(function_call)
}

function isAnswer({ choices }: Json): boolean {
  if (!Array.isArray(choices) || choices.length === 0) return false
  return choices.every((choice) => isJson(choice?.message) && isContent(choice.message.content))
}

/** What a 200 tells that it took. Not certain where it has output and tells of no tokens. */
function spendOf(json: Json, hasOutput: boolean): Spend {
  const usage = usageOf(json.usage as ChatUsage | null | undefined)
  if (usage === undefined) return SPEND_UNKNOWN
  return { usage: { ...usage, ...servedBy(json) }, isCertain: !hasOutput || isOfOutput(usage) }
}

/** As much of an answer, or of an event of one, as tells of an error. */
interface Fallible {
  readonly error?: unknown
  readonly object?: unknown
  readonly type?: unknown
  readonly choices?: unknown
}

/** The error that an answer, or an event of one, tells of: its own, a choice's, or itself; `undefined` where it tells of none. */
export function errorIn(value: Fallible): unknown {
  if (isError(value.error)) return value.error
  const { choices } = value
  if (Array.isArray(choices)) {
    for (const choice of choices) if (isError((choice as Fallible | null)?.error)) return choice.error
    return undefined
  }
  return value.type === 'error' || value.object === 'error' ? value : undefined
}
