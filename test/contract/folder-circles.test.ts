import { execFile } from 'node:child_process'
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, sep } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { folderCircles } from '../../packages/workshop/src/folder-circles.ts'
import { cleanEnv, ROOT } from '../support/host.ts'

/** Files by path, with what each imports. */
const files = (imports: Record<string, string[]>) =>
  Object.entries(imports).map(([file, imports]) => ({ file, imports }))

describe('a circle between folders is found', () => {
  test('of two', () => {
    expect(folderCircles(files({ 'a/one.ts': ['b/two.ts'], 'b/two.ts': [], 'b/three.ts': ['a/four.ts'] }))).toEqual([
      'folders import each other: a → b → a\n  a/one.ts imports b/two.ts\n  b/three.ts imports a/four.ts',
    ])
  })

  test('of three', () => {
    expect(folderCircles(files({ 'a/1.ts': ['b/1.ts'], 'b/1.ts': ['c/1.ts'], 'c/2.ts': ['a/2.ts'] }))).toEqual([
      'folders import each other: a → b → c → a\n  a/1.ts imports b/1.ts\n  b/1.ts imports c/1.ts\n  c/2.ts imports a/2.ts',
    ])
  })

  test('of a folder and its own sub-folder', () => {
    expect(folderCircles(files({ 'a/1.ts': ['a/b/1.ts'], 'a/b/2.ts': ['a/2.ts'] }))).toHaveLength(1)
  })

  test('by way of an index', () => {
    const [fault] = folderCircles(files({ 'a/1.ts': ['b/index.ts'], 'b/index.ts': ['b/1.ts'], 'b/1.ts': ['a/2.ts'] }))
    expect(fault).toContain('a → b/index.ts → b → a\n')
  })

  test('once, by its shortest way', () => {
    const imports = { 'a/1.ts': ['b/1.ts', 'c/1.ts'], 'b/1.ts': ['c/1.ts'], 'c/1.ts': ['a/1.ts'] }
    expect(folderCircles(files(imports)).map((fault) => fault.split('\n')[0])).toEqual([
      'folders import each other: a → c → a',
    ])
  })
})

test('imports that run one way are no circle, nor is an index that stands before its folders', () => {
  const oneWay = { 'a/index.ts': ['a/1.ts', 'a/b/1.ts'], 'a/1.ts': ['c/1.ts'], 'a/b/1.ts': ['a/1.ts', 'c/1.ts'] }
  expect(folderCircles(files(oneWay))).toEqual([])
})

test('an allowed import is left out of account, until it closes no circle', () => {
  const allowed = [{ from: 'b', to: 'a' }]
  expect(folderCircles(files({ 'a/1.ts': ['b/1.ts'], 'b/1.ts': ['a/2.ts'] }), allowed)).toEqual([])
  expect(folderCircles(files({ 'a/1.ts': [], 'b/1.ts': ['a/2.ts'] }), allowed)).toEqual([
    'b → a closes no circle: allow it no longer',
  ])
  expect(folderCircles(files({ 'a/1.ts': ['b/1.ts'] }), allowed)).toHaveLength(1)
})

describe('npm run check:imports, on a copy of the sources', () => {
  const copy = mkdtempSync(join(tmpdir(), 'tollgate-circles-'))
  const limits = join(copy, 'packages/middleware/src/limits')
  beforeAll(() => {
    for (const name of ['functions', 'packages', 'package.json'])
      cpSync(join(ROOT, name), join(copy, name), {
        recursive: true,
        filter: (path) => !path.includes(`${sep}node_modules`),
      })
    mkdirSync(join(copy, 'test'))
    symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'), 'junction')
  })
  afterAll(() => rmSync(copy, { recursive: true, force: true }))

  async function check(): Promise<string> {
    const script = join(copy, 'packages/workshop/src/check-imports.ts')
    return promisify(execFile)(process.execPath, [script], { env: cleanEnv({}), timeout: 30_000 }).then(
      ({ stdout }) => stdout,
      ({ stdout, stderr }) => stdout + stderr,
    )
  }

  test('finds a planted circle, and none before', async () => {
    expect(await check()).toMatch(/^imports: \d+ files, 0 faults\n$/)

    writeFileSync(join(limits, 'accounts/planted.ts'), "export type { Lease } from '../leases/lease.ts'\n")
    appendFileSync(join(limits, 'stores/memory.ts'), "export { subjectsOf } from '../subjects.ts'\n")
    const output = await check()
    expect(output).toMatch(/limits\/accounts → \S+limits\/leases → \S+limits\/accounts\n/)
    expect(output).toMatch(/\n {2}\S+limits\/accounts\/planted.ts imports \S+limits\/leases\/lease.ts\n/)
    expect(output).toMatch(/\n {2}\S+limits\/stores\/memory.ts imports \S+limits\/subjects.ts\n/)
    expect(output).toContain(' 2 faults\n')
  })
})
