import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { applyLocalSettings } from './local-settings.ts'

function folderWith(text: string): string {
  const root = mkdtempSync(join(tmpdir(), 'tollgate-settings-'))
  writeFileSync(join(root, 'local.settings.json'), text)
  return root
}

describe('local.settings.json', () => {
  test('fills in what the environment leaves out; what it has, wins, and is named', () => {
    const env: NodeJS.ProcessEnv = { SET: 'mine', SAME: 'same' }
    const values = { SET: 'theirs', SAME: 'same', NEW: 'new', NUMBER: 7 }
    const applied = applyLocalSettings(
      folderWith(JSON.stringify({ IsEncrypted: false, Values: values, Host: { LocalHttpPort: 7080, CORS: '*' } })),
      env,
    )
    expect(env).toEqual({ SET: 'mine', SAME: 'same', NEW: 'new', NUMBER: '7' })
    expect(applied).toEqual({ overridden: ['SET'], port: 7080, cors: { origins: ['*'], credentials: false } })
  })

  test('may begin with a byte order mark', () => {
    const env: NodeJS.ProcessEnv = {}
    applyLocalSettings(folderWith('\uFEFF{"Values":{"A":"1"}}'), env)
    expect(env).toEqual({ A: '1' })
  })

  test('may be absent, or say nothing', () => {
    const nothing = { overridden: [], port: undefined, cors: undefined }
    expect(applyLocalSettings(mkdtempSync(join(tmpdir(), 'tollgate-settings-')), {})).toEqual(nothing)
    expect(applyLocalSettings(folderWith('{}'), {})).toEqual(nothing)
  })

  test('is never quoted when it can’t be read, for it holds secrets', () => {
    const apply = (text: string) => () => applyLocalSettings(folderWith(text), {})
    expect(apply('{"Values": {"OPENAI_API_KEY": sk-secret}}')).toThrow(/^local\.settings\.json is not valid JSON\.$/)
    expect(apply('{"IsEncrypted": true, "Values": {"A": "cipher"}}')).toThrow(/^local\.settings\.json is encrypted\./)
  })

  test.each([
    [
      'https://a.example, https://b.example/',
      true,
      { origins: ['https://a.example', 'https://b.example'], credentials: true },
    ],
    ['', false, undefined],
  ])('reads Host.CORS %j', (CORS, CORSCredentials, cors) => {
    const folder = folderWith(JSON.stringify({ Host: { CORS, CORSCredentials } }))
    expect(applyLocalSettings(folder, {}).cors).toEqual(cors)
  })

  test('refuses credentials from any origin, as browsers do', () => {
    const folder = folderWith('{"Host":{"CORS":"*","CORSCredentials":true}}')
    expect(() => applyLocalSettings(folder, {})).toThrow('Host.CORS must name the origins')
  })
})
