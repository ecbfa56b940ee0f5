import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import { afterAll, describe, expect, test } from 'vitest'
import { FILES, MAIN } from '../../packages/workshop/src/bundle.ts'
import { cleanEnv, ROOT } from '../support/host.ts'
import { type OtherNode, otherNode } from './other-nodes.ts'

/* What package.json#engines admits, and what it doesn't, by the Nodes themselves. `npm run test:package` installs them. */

const APP = process.env.TOLLGATE_TEST_APP ?? ROOT
const folder = mkdtempSync(join(tmpdir(), 'tollgate-nodes-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function under(version: OtherNode, args: readonly string[]) {
  const node = otherNode(version)
  if ('missing' in node) throw new Error(node.missing)
  return spawnSync(node.path, args, { encoding: 'utf8', env: cleanEnv({}) })
}

/** What is not installed is skipped by its name, which says why. */
function testUnder(version: OtherNode, name: string, body: () => unknown): void {
  const node = otherNode(version)
  if ('missing' in node) test.skip(`${name} (${node.missing})`, () => {})
  else test(name, async () => void (await body()))
}

describe('A1: every Node that package.json admits', () => {
  test('is 22 and later', () => {
    const { engines } = JSON.parse(readFileSync(join(APP, 'package.json'), 'utf8'))
    expect(engines.node).toBe('>=22')
  })

  testUnder('20', 'an older one is refused at load, by one sentence that names both versions', () => {
    const { status, stderr } = under('20', [join(APP, MAIN)])
    const sentence = 'Tollgate needs Node 22 or later (Azure Functions offers 22 and 24), and this is Node 20.20.2.'
    expect(status).toBe(1)
    expect(stderr.split('\n')[0]).toBe(sentence)
    expect(stderr).toContain(`\nError: ${sentence}`)
  })

  testUnder('22.0', 'the oldest has all that the bundle takes from Node, but for what it does without', () => {
    const files = FILES.map((file) => join(APP, file))
    const { stdout, stderr } = under('22.0', ['-e', MISSING, ...files])
    // The app makes the first itself (functions/node-version.ts); where the second is missing, jose decodes by hand; and without the others the
    // app packs by deflate.
    expect([stderr, JSON.parse(stdout)]).toEqual([
      '',
      [
        'URL.parse',
        'Uint8Array.fromBase64',
        'zlib.zstdCompress',
        'zlib.zstdCompressSync',
        'zlib.zstdDecompress',
        'zlib.zstdDecompressSync',
      ],
    ])
  })

  testUnder('22.0', 'the oldest packs what others unpack, and takes for a miss what it can’t unpack', async () => {
    const packing = join(folder, 'packing.cjs')
    await build({
      entryPoints: [join(ROOT, 'packages/middleware/src/cache/stores/packing.ts')],
      outfile: packing,
      bundle: true,
      platform: 'node',
      format: 'cjs',
      target: 'node22',
    })
    const { pack, unpack } = await import(packing)
    for (const length of [1_000, 30_000, 300_000]) {
      const answer = Buffer.from('What a tollgate is, and more. '.repeat(length / 30))
      const [packed, plain] = [join(folder, `${length}.packed`), join(folder, `${length}.plain`)]
      writeFileSync(packed, await pack({ answer, events: undefined, usage: undefined, storedAt: 1, expiresAt: 2 }))
      writeFileSync(plain, answer)
      const { stdout, stderr } = under('22.0', ['-e', REPACK, packing, packed, plain])
      const [theirs = '', ours] = stdout.split('\n')
      expect([stderr, ours]).toEqual(['', length > 2_048 ? 'miss' : 'true'])
      const unpacked = await unpack(Buffer.from(theirs, 'base64'))
      expect(Buffer.from(unpacked.answer).equals(answer)).toBe(true)
    }
  })
})

/** Prints what the files take by name from Node's modules (as esbuild writes it) and from globals, and this Node has not. */
const MISSING = `
const { readFileSync } = require('node:fs')
const missing = new Set()
const note = (name, has, member) => member in has || missing.add(name + '.' + member)
for (const file of process.argv.slice(1)) {
  const text = readFileSync(file, 'utf8')
  for (const [, name, module] of text.matchAll(/(import_[\\w$]+)=(?:__toESM\\()?require\\("(?:node:)?([\\w/]+)"\\)/g))
    for (const [, member] of text.matchAll(new RegExp('\\\\b' + name + '\\\\.(?:default\\\\.)?(\\\\w+)', 'g')))
      if (member !== 'default') note(module, require('node:' + module), member)
  for (const [, name, member] of text.matchAll(/(?<![\\w$.#"'])([A-Z][A-Za-z\\d]+)\\.([a-z]\\w*)(?=\\()/g))
    if (typeof globalThis[name] === 'function' || name === 'Math' || name === 'Atomics') note(name, globalThis[name], member)
}
console.log(JSON.stringify([...missing].sort()))
`

/** Packs a text here, and unpacks what another Node has packed of it. */
const REPACK = `
const { readFileSync } = require('node:fs')
const [packing, packed, plain] = process.argv.slice(1)
const { pack, unpack } = require(packing)
const entry = { answer: readFileSync(plain), events: undefined, usage: undefined, storedAt: 1, expiresAt: 2 }
Promise.all([pack(entry), unpack(readFileSync(packed))]).then(([ours, theirs]) => {
  console.log(Buffer.from(ours).toString('base64'))
  console.log(theirs === undefined ? 'miss' : Buffer.from(theirs.answer).equals(entry.answer))
})
`
