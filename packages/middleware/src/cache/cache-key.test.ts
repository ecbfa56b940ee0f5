import fc from 'fast-check'
import { expect, test } from 'vitest'
import { digestWith } from '../pipeline/index.ts'
import { cacheKey, type KeyParts, scopeOf } from './cache-key.ts'

const plain = digestWith(undefined)
const parts = fc.record({ scope: fc.string(), purgeVersion: fc.string(), fingerprint: fc.string() })

test('a key is another for any other consumer, purge version or fingerprint', () => {
  fc.assert(
    fc.property(parts, parts, (a, b) => {
      const same = a.scope === b.scope && a.purgeVersion === b.purgeVersion && a.fingerprint === b.fingerprint
      expect(cacheKey(a, plain) === cacheKey(b, plain)).toBe(same)
    }),
  )
  expect(cacheKey({ scope: 'a', purgeVersion: 'bc', fingerprint: '' }, plain)).not.toBe(
    cacheKey({ scope: 'ab', purgeVersion: 'c', fingerprint: '' }, plain),
  )
})

test('a key can’t be had without the secret', () => {
  const asked: KeyParts = { scope: 'consumer:alice', purgeVersion: '', fingerprint: 'f' }
  expect(new Set([plain, digestWith('one'), digestWith('two')].map((digest) => cacheKey(asked, digest))).size).toBe(3)
})

test('no scope is another’s, whatever consumers and plans are called', () => {
  const scopes = [
    scopeOf({ scope: 'consumer' }, { id: 'pro', plan: 'x' }),
    scopeOf({ scope: 'plan' }, { id: 'x', plan: 'pro' }),
    scopeOf({ scope: 'shared' }, { id: 'shared', plan: 'shared' }),
    scopeOf({ scope: 'consumer' }, { id: 'shared', plan: 'shared' }),
    scopeOf({ scope: 'plan' }, { id: 'shared', plan: 'shared' }),
  ]
  expect(new Set(scopes).size).toBe(scopes.length)
})
