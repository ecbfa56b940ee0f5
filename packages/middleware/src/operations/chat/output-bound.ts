import type { ChatBody } from './request.ts'

/** The most tokens that a model may write. */
export interface OutputBound {
  /** Of each choice. */
  readonly each: number
  readonly choices: number
}

const FIELDS = ['max_completion_tokens', 'max_tokens'] as const

/** What a body allows; `undefined` where it says nothing, or what isn't a whole number above 0. */
export function outputBound(body: ChatBody): OutputBound | undefined {
  const stated = FIELDS.map((field) => body[field]).filter(isStated)
  const choices = body.n ?? 1
  if (stated.length === 0 || ![...stated, choices].every(isPositive)) return undefined
  // Where both are there, nobody knows which one a service goes by.
  const each = Math.max(...stated.map(Number))
  return Number.isSafeInteger(each * Number(choices)) ? { each, choices: Number(choices) } : undefined
}

/** Whether a body says how long its answer may be. */
export function statesOutput(body: ChatBody): boolean {
  return FIELDS.some((field) => isStated(body[field]))
}

/** The body with another bound for each choice, in the fields that it has; in `max_tokens` where it has none. */
export function withOutputBound<Body extends ChatBody>(body: Body, each: number): Body {
  const fields = FIELDS.filter((field) => body[field] !== undefined)
  return {
    ...body,
    ...Object.fromEntries((fields.length === 0 ? ['max_tokens'] : fields).map((field) => [field, each])),
  }
}

function isStated(value: unknown): boolean {
  return value !== undefined && value !== null
}

function isPositive(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 1
}
