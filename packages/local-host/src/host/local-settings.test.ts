import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
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

  test('I6: may have comments and a last comma, as Core Tools take them, and texts that look like them', () => {
    const env: NodeJS.ProcessEnv = {}
    const text = '{ // mine\n "Values": { /* a, b */ "A": "https://x.example/*", "B": "a,}", }, }\n// end'
    applyLocalSettings(folderWith(text), env)
    expect(env).toEqual({ A: 'https://x.example/*', B: 'a,}' })
  })

  test.each([
    ['[]', 'local.settings.json must be a JSON object: {"Values": {…}}.'],
    ['{"values": {"A": "1"}}', "local.settings.json: 'values' is no part of it. Did you mean Values?"],
    [
      '{"TOLLGATE_POLICY": "p.yaml"}',
      'local.settings.json: TOLLGATE_POLICY stands outside of Values, where nothing reads it. Move it there.',
    ],
    ['{"Values": ["A=1"]}', 'local.settings.json: Values must be an object of names and texts.'],
    ['{"Values": {"A": null}}', 'local.settings.json: Values.A must be a text, in quotes.'],
    [
      '{"Host": {"LocalHttpPort": "7071"}}',
      'local.settings.json: Host.LocalHttpPort must be a number from 0 to 65535, without quotes.',
    ],
    ['{"Host": {"CORS": ["*"]}}', 'local.settings.json: Host.CORS must be a text: origins separated by commas, or *.'],
  ])('I1: %s is refused, and not passed over', (text, message) => {
    expect(() => applyLocalSettings(folderWith(text), {})).toThrow(message)
  })

  test('I6: says in a sentence that it is a folder', () => {
    const root = mkdtempSync(join(tmpdir(), 'tollgate-settings-'))
    mkdirSync(join(root, 'local.settings.json'))
    expect(() => applyLocalSettings(root, {})).toThrow(/^local\.settings\.json can't be read \(EISDIR\)\./)
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
