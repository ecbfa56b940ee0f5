import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ChatBody, digestWith } from '../completion/index.ts'
import { cacheKey, type KeyParts } from './cache-key.ts'

const digest = digestWith(undefined)
const key = (parts: KeyParts) => cacheKey(parts, digest)

const text = fc.string({ unit: 'grapheme', maxLength: 20 })
const message = fc.record({ role: fc.constantFrom('system', 'user', 'assistant'), content: text })
const body = fc.record(
  {
    model: text,
    messages: fc.array(message, { minLength: 1, maxLength: 4 }),
    temperature: fc.double({ min: 0, max: 2, noNaN: true }),
    max_tokens: fc.integer({ min: 1, max: 9_999 }),
    a_field_of_next_year: fc.jsonValue(),
  },
  { requiredKeys: ['model', 'messages'] },
) as fc.Arbitrary<ChatBody>
const parts = fc.record({ scope: text, route: text, target: text, body })

const WITHOUT_EFFECT = {
  stream: true,
  stream_options: { include_usage: true },
  user: 'u',
  safety_identifier: 's',
  metadata: { a: 'b' },
  store: true,
  service_tier: 'flex',
  prompt_cache_key: 'k',
}

function shuffled(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shuffled)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([name, inner]) => [name, shuffled(inner)]),
  )
}

describe('a cache key', () => {
  test('is the same for the same question, whatever the order of its fields', () => {
    fc.assert(
      fc.property(parts, (p) => {
        expect(key({ ...p, body: shuffled(p.body) as ChatBody })).toBe(key(p))
      }),
    )
  })

  test('is the same whatever the fields say that don’t change the answer', () => {
    fc.assert(
      fc.property(parts, (p) => {
        expect(key({ ...p, body: { ...p.body, ...WITHOUT_EFFECT } })).toBe(key(p))
      }),
    )
  })

  test('is another for any other question, of any other consumer, route or target', () => {
    fc.assert(
      fc.property(parts, parts, (a, b) => {
        const same = JSON.stringify(shuffled(a)) === JSON.stringify(shuffled(b))
        expect(key(a) === key(b)).toBe(same)
      }),
    )
  })

  test('changes with every field of the body, those of next year too', () => {
    fc.assert(
      fc.property(parts, text, fc.jsonValue(), (p, field, value) => {
        fc.pre(!(field in p.body) && !(field in WITHOUT_EFFECT) && field !== '__proto__')
        expect(key({ ...p, body: { ...p.body, [field]: value } as ChatBody })).not.toBe(key(p))
      }),
    )
  })

  test('has no seam: what ends one part can’t begin the next', () => {
    const bodyOf = { model: 'm', messages: [] }
    expect(key({ scope: 'a', route: 'bc', target: '', body: bodyOf })).not.toBe(
      key({ scope: 'ab', route: 'c', target: '', body: bodyOf }),
    )
  })

  test('can’t be had without the secret', () => {
    const p: KeyParts = { scope: 'alice', route: 'generate', target: 't', body: { model: 'm', messages: [] } }
    expect(new Set([key(p), cacheKey(p, digestWith('one')), cacheKey(p, digestWith('two'))]).size).toBe(3)
  })

  test('is refused to text that is no Unicode', () => {
    const broken: ChatBody = { model: 'm', messages: [{ role: 'user', content: '\ud800' }] }
    expect(() => key({ scope: 's', route: 'r', target: 't', body: broken })).toThrow()
  })
})
