import type { ModelRules } from '../../pipeline/index.ts'
import { type Body, isJson, type Json } from '../body.ts'
import { sparedByCounting } from '../long-texts.ts'
import { bounds } from './request.ts'

/**
 * The most tokens that a model which counts by o200k_base can make of a body's input: of the long texts that stand alone what the
 * vocabulary makes of them, and of everything else its bytes. `undefined` where the vocabulary is another, or nothing bounds the
 * input, or no text is long.
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
  if (byBytes?.input === undefined) return undefined
  const spared = await sparedByCounting(textsIn(body.json), signal)
  if (spared === undefined) return undefined
  const input = byBytes.input - spared
  return Math.min(input, rules.contextWindow ?? input)
}

/**
 * Texts that are all that their message says. Others may be put together with what else the service tells the model (instructions),
 * or be written otherwise for it (what a function gave).
 */
function textsIn({ input }: Json): readonly string[] {
  if (typeof input === 'string') return [input]
  if (!Array.isArray(input)) return []
  const messages = input.filter((item) => isJson(item) && (item.type ?? 'message') === 'message')
  return messages.flatMap(({ content }) => textOf(content) ?? [])
}

/** Several parts may be put together, and tokens reach from one into the next. */
function textOf(said: unknown): string | undefined {
  if (typeof said === 'string') return said
  const [part, ...others] = Array.isArray(said) ? said : []
  return others.length === 0 && isJson(part) && typeof part.text === 'string' ? part.text : undefined
}
