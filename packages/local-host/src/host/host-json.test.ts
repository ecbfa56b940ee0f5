import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { isLogged, readHostJson } from './host-json.ts'

function read(host: object) {
  const root = mkdtempSync(join(tmpdir(), 'tollgate-host-'))
  writeFileSync(join(root, 'host.json'), JSON.stringify(host))
  return readHostJson(root)
}

describe('host.json', () => {
  test('has the platform’s defaults', () => {
    expect(read({ version: '2.0' })).toEqual({ routePrefix: 'api', logLevel: 'information' })
  })

  test('sets the route prefix, an empty one too, and the log level', () => {
    const prefix = (routePrefix: string) => read({ version: '2.0', extensions: { http: { routePrefix } } }).routePrefix
    expect([prefix('/v1/'), prefix('')]).toEqual(['v1', ''])
    expect(read({ version: '2.0', logging: { logLevel: { default: 'Warning' } } }).logLevel).toBe('warning')
  })

  test('of another version is refused', () => {
    expect(() => read({ version: '1.0' })).toThrow('version must be "2.0"')
  })

  test('I6: that is no JSON is told in a sentence', () => {
    const root = mkdtempSync(join(tmpdir(), 'tollgate-host-'))
    writeFileSync(join(root, 'host.json'), '{ // mine')
    expect(() => readHostJson(root)).toThrow(/^host\.json is not valid JSON\./)
  })

  test('keeps back what is below the level, and all at none', () => {
    expect(isLogged('information', 'warning')).toBe(false)
    expect(isLogged('warning', 'warning')).toBe(true)
    expect(isLogged('critical', 'none')).toBe(false)
  })
})
