import fc from 'fast-check'
import { countTokens as cl100k } from 'gpt-tokenizer/encoding/cl100k_base'
import { countTokens as o200k } from 'gpt-tokenizer/encoding/o200k_base'
import { expect, test } from 'vitest'
import { bodyFrom, bodyOf, chat, embeddings, type Json, type Operation, responses } from './index.ts'

/*
 * What is reserved of a budget covers what a service bills: the bound of an input is never below its tokens by the vocabularies that
 * OpenAI's models count by, and what their templates add.
 */

const RULES = { contextWindow: undefined }
const tokens = (text: string) => {
  const special = { disallowedSpecial: new Set<string>() }
  return Math.max(cl100k(text, special), o200k(text, special))
}
const sum = (counts: readonly number[]) => counts.reduce((all, each) => all + each, 0)
const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 200 }),
  fc.string({ unit: 'binary', maxLength: 100 }),
  fc.lorem({ maxCount: 60 }),
  fc.constantFrom('<|endoftext|>', '\\n'.repeat(50), '\u0000'.repeat(50), '𒀀'.repeat(30), '1234567890'.repeat(20)),
)
const texts = fc.array(text, { minLength: 1, maxLength: 6 })

/** As it comes over the wire, in either way to write what is not ASCII. */
function bound(operation: Operation, json: Json, escaped: boolean): number {
  const plain = JSON.stringify(json)
  const ascii = plain.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
  const body = bodyFrom(Buffer.from(escaped ? ascii : plain))
  return operation.bounds(typeof body === 'string' ? bodyOf(json) : body, RULES)?.input ?? 0
}

test('of embeddings', () => {
  fc.assert(
    fc.property(texts, fc.boolean(), (input, escaped) => {
      // Models that are no OpenAI's frame each input by two tokens.
      expect(bound(embeddings, { input }, escaped)).toBeGreaterThanOrEqual(sum(input.map((each) => tokens(each) + 2)))
    }),
  )
})

test('of responses', () => {
  fc.assert(
    fc.property(texts, text, fc.boolean(), (said, instructions, escaped) => {
      const input = said.map((each, i) => ({
        role: i % 2 === 0 ? 'user' : 'assistant',
        content: i % 3 === 0 ? each : [{ type: i % 2 === 0 ? 'input_text' : 'output_text', text: each }],
      }))
      const parameters = { type: 'object', properties: { city: { type: 'string', description: instructions } } }
      const tools = [{ type: 'function', name: 'weather', parameters }]
      const billed =
        tokens(instructions) * 2 + sum(said.map((each) => tokens(each) + 8)) + tokens(JSON.stringify(parameters))
      const asked = { input, instructions, tools, store: false, max_output_tokens: 7 }
      expect(bound(responses, asked, escaped)).toBeGreaterThanOrEqual(billed)
    }),
  )
})

test('of chat completions', () => {
  fc.assert(
    fc.property(texts, fc.boolean(), (said, escaped) => {
      const messages = said.map((content) => ({ role: 'user', content }))
      const billed = sum(said.map((each) => tokens(each) + 8))
      expect(bound(chat, { messages, max_tokens: 7 }, escaped)).toBeGreaterThanOrEqual(billed)
    }),
  )
})
