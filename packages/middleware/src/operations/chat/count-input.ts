import type { ModelRules } from '../../pipeline/index.ts'
import { type Body, isJson } from '../body.ts'
import { sparedByCounting } from '../long-texts.ts'
import { bounds } from './request.ts'

/**
 * The most tokens that a model which counts by o200k_base can make of a body's input: of the long texts in its messages what
 * the vocabulary makes of them, and of everything else its bytes. `undefined` where the vocabulary is another, or nothing
 * bounds the input, or no text is long.
 *
 * Safe, since a message's text stands between special tokens, over which no other token reaches: its count is exact, and what
 * templates and tools add is bounded as it was. Loads the vocabulary the first time.
 *
 * @throws AbortError when the signal aborts
 */
export async function countInput(
  body: Body,
  rules: Pick<ModelRules, 'contextWindow' | 'tokenizer'>,
  signal: AbortSignal,
): Promise<number | undefined> {
  if (rules.tokenizer !== 'o200k_base') return undefined
  const byBytes = bounds(body, { contextWindow: undefined })
  const { messages } = body.json
  if (byBytes?.input === undefined || !Array.isArray(messages)) return undefined
  const texts = messages.flatMap((message) => (isJson(message) ? (textOf(message.content) ?? []) : []))
  const spared = await sparedByCounting(texts, signal)
  if (spared === undefined) return undefined
  const input = byBytes.input - spared
  return Math.min(input, rules.contextWindow ?? input)
}

/** A message's text where it has one alone. Several may be put together, and tokens reach from one into the next. */
function textOf(content: unknown): string | undefined {
  if (typeof content === 'string') return content
  const [part, ...others] = Array.isArray(content) ? content : []
  return others.length === 0 && part?.type === 'text' && typeof part.text === 'string' ? part.text : undefined
}
