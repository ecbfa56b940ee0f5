import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { generateKey, parseKey, sameDigest } from './key.ts'

const position = fc.integer({ min: 0, max: 200 })
const character = fc.constantFrom(...'0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-')

describe('a key', () => {
  test('has the form tg_<public id>_<secret><checksum>', () => {
    expect(generateKey()).toMatch(/^tg_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}$/)
  })

  test('parses to its public id and a digest of the whole', () => {
    const key = generateKey()
    const parsed = parseKey(key)
    expect(key.startsWith(`tg_${parsed?.publicId}_`)).toBe(true)
    expect(parsed?.digest).toMatch(/^[\w-]{43}$/)
  })

  test('is never made twice', () => {
    const keys = Array.from({ length: 500 }, generateKey)
    expect(new Set(keys).size).toBe(500)
    expect(new Set(keys.map((key) => parseKey(key)?.publicId)).size).toBe(500)
  })

  test('with one character changed, swapped, dropped or added is told from a key without a lookup', () => {
    const key = generateKey()
    fc.assert(
      fc.property(position, character, (at, other) => {
        const index = at % key.length
        const [head, tail] = [key.slice(0, index), key.slice(index + 1)]
        const typos = [
          head + other + tail,
          head + tail,
          head + other + key.slice(index),
          head + (tail[0] ?? '') + key[index] + tail.slice(1),
        ]
        for (const typo of typos.filter((text) => text !== key)) expect(parseKey(typo)).toBeUndefined()
      }),
      { numRuns: 500 },
    )
  })

  test.each(['', 'tg_', 'sk-abc', 'tg_abc_def', `${'tg_aaaaaaaaaaaa_'}${'a'.repeat(49)}\n`])('%j is none', (text) => {
    expect(parseKey(text)).toBeUndefined()
  })
})

test('digests of unequal length or content differ, equal ones don’t', () => {
  expect(sameDigest('abc', 'abc')).toBe(true)
  expect(sameDigest('abc', 'abd')).toBe(false)
  expect(sameDigest('abc', 'abcd')).toBe(false)
})
