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

  test('takes an empty document, or none, for the defaults', () => {
    const root = folder()
    expect(outlinePolicy({ root, path: undefined }).defaultPlan).toBe('default')
    writeFileSync(join(root, 'tollgate.policy.yaml'), '# nothing yet\n')
    expect(outlinePolicy({ root, path: undefined }).defaultPlan).toBe('default')
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
