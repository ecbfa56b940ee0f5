import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { outlinePolicy } from './index.ts'

const folder = () => mkdtempSync(join(tmpdir(), 'tollgate-policy-'))

describe('loading a policy', () => {
  test('finds tollgate.policy.yaml in the app’s folder', () => {
    const root = folder()
    writeFileSync(join(root, 'tollgate.policy.yaml'), 'plans:\n  pro: { limits: [ {requests: 60, per: 1m} ] }\n')
    expect([...outlinePolicy({ root, path: undefined }).plans.keys()]).toEqual(['pro'])
  })

  test('takes JSON as well, by the path that is set', () => {
    const root = folder()
    writeFileSync(join(root, 'p.json'), '{"plans":{"pro":{"limits":[]}}}')
    expect([...outlinePolicy({ root, path: 'p.json' }).plans.keys()]).toEqual(['pro'])
    expect([...outlinePolicy({ root: '/', path: join(root, 'p.json') }).plans.keys()]).toEqual(['pro'])
  })

  test('takes none, or an empty map, for the defaults', () => {
    const root = folder()
    expect(outlinePolicy({ root, path: undefined })).toMatchObject({ defaultPlan: 'default', source: {} })
    writeFileSync(join(root, 'tollgate.policy.yaml'), '{}\n')
    expect(outlinePolicy({ root, path: undefined }).defaultPlan).toBe('default')
  })

  test('says which file it came from, and which revision', () => {
    const root = folder()
    expect(outlinePolicy({ root, path: undefined }).source).toEqual({ file: undefined, digest: undefined })
    const digests = ['plans: {a: {limits: []}}', 'plans: {b: {limits: []}}'].map((text) => {
      writeFileSync(join(root, 'p.yaml'), text)
      const { file, digest } = outlinePolicy({ root, path: 'p.yaml' }).source
      expect([file, digest]).toEqual(['p.yaml', expect.stringMatching(/^[0-9a-f]{12}$/)])
      return digest
    })
    expect(new Set(digests).size).toBe(2)
  })

  test('says what is wrong with a file that is missing or unreadable', () => {
    const root = folder()
    expect(() => outlinePolicy({ root, path: 'none.yaml' })).toThrow(
      'none.yaml was refused:\n  - the file does not exist',
    )
    writeFileSync(join(root, 'bad.yaml'), 'plans: {a: [}')
    expect(() => outlinePolicy({ root, path: 'bad.yaml' })).toThrow('bad.yaml was refused:\n  - not valid YAML or JSON')
  })
})
