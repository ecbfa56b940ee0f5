import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, sep } from 'node:path'
import { unzipSync } from 'fflate'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { type Bundled, bundle, MAIN } from '../../packages/workshop/src/bundle.ts'
import { funcignore } from '../../packages/workshop/src/funcignore.ts'
import { complete } from '../support/completions.ts'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, cleanEnv, generate, ROOT, type RunningHost, startHost } from '../support/host.ts'
import { packageApp, unpack } from '../support/packaged-app.ts'
import { openAccount } from '../support/tables.ts'
import { answering, startUpstream, streaming, type Upstream } from '../support/upstream.ts'

/* What `npm run package` makes, and that it is all that an app needs: it is served from where nothing else is. */

const MOST_BYTES = 5 * 1024 * 1024
const POLICY = `
plans:
  small: { limits: [ { requests: 5, per: 1h, burst: 0 } ] }
  ample: { limits: [ { requests: 100000, per: 1m } ] }
routes: { generate: { transforms: { minifyJson: true } } }
`

const folder = mkdtempSync(join(tmpdir(), 'tollgate-package-'))
const app = join(folder, 'app')
let zip: Buffer
let paths: readonly string[]
let metafile: Bundled['metafile']
beforeAll(async () => {
  ;({ metafile } = await bundle())
  zip = packageApp(ROOT, join(folder, 'tollgate.zip'))
  paths = unpack(zip, app)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('the zip', () => {
  test('holds the bundle, host.json, package.json and the policy where there is one, and is small', () => {
    const policy = existsSync(join(ROOT, 'tollgate.policy.yaml')) ? ['tollgate.policy.yaml'] : []
    const built = [
      'aws4fetch',
      'azure-pipeline',
      'identity',
      'index',
      'jose',
      'openai',
      'opentelemetry',
      'redis',
      'tables',
      'tokens',
      'undici',
    ].map((name) => `dist/${name}.js`)
    expect(paths).toEqual([...built, 'host.json', 'package.json', ...policy])
    expect(zip.byteLength).toBeLessThanOrEqual(MOST_BYTES)
    for (const path of paths) expect(readFileSync(join(app, path)).equals(readFileSync(join(ROOT, path)))).toBe(true)
  })

  test('is what .funcignore leaves of this checkout', () => {
    const isDeployed = funcignore(readFileSync(join(ROOT, '.funcignore'), 'utf8'))
    const top = readdirSync(ROOT, { withFileTypes: true }).filter((entry) => !entry.isDirectory())
    const built = readdirSync(join(ROOT, 'dist')).map((name) => `dist/${name}`)
    expect([...built, ...top.map(({ name }) => name)].filter(isDeployed).toSorted()).toEqual(paths)
    for (const path of ['node_modules/openai/index.js', 'packages/cli/package.json', '.package/tollgate.zip'])
      expect(isDeployed(path)).toBe(false)
  })

  test('is what Core Tools make of a line: all that begins with it and has the edge of a word there', () => {
    const isDeployed = funcignore('*\n!dist/index.js\n!policies/**/*.yaml\n')
    const paths = [
      'dist/index.js',
      'dist/index.js.map',
      'dist/index.json',
      'dist/index',
      'policies/eu/a.yaml',
      'a.yaml',
    ]
    expect(paths.filter(isDeployed)).toEqual(['dist/index.js', 'dist/index.js.map', 'policies/eu/a.yaml'])
  })

  test('keeps out of the app’s first file what is loaded later', () => {
    const inputs = Object.keys(metafile.outputs[MAIN]?.inputs ?? {})
    expect(inputs.length).toBeGreaterThan(100)
    const later = /^node_modules\/(?:@azure\/(?:data-tables|identity)|@redis|openai|gpt-tokenizer)\//
    expect(inputs.filter((input) => later.test(input))).toEqual([])
  })

  test('has the same bytes when the same sources are built elsewhere; policies go along, and a file too many is refused', () => {
    const copy = join(folder, 'copy')
    copyCheckout(copy)
    const build = () => {
      const { status, stderr } = spawnSync(process.execPath, [join(copy, 'packages/workshop/src/build.ts')], {
        env: cleanEnv({ TZ: 'Asia/Tokyo' }),
        encoding: 'utf8',
      })
      expect([status, stderr]).toEqual([0, ''])
    }
    build()
    const built = packageApp(copy, join(folder, 'copy.zip'))
    expect(digest(built)).toBe(digest(zip))

    const refused = join(folder, 'refused.zip')
    const letBy = (...names: readonly string[]) => {
      const lines = names.map((name) => `!${name}\n`).join('')
      writeFileSync(join(copy, '.funcignore'), readFileSync(join(ROOT, '.funcignore'), 'utf8') + lines)
      for (const name of names) writeFileSync(join(copy, name), '{}')
    }
    const policies = ['prod.policy.yaml', 'test.yml', 'eu-policy.json']
    letBy(...policies)
    const files = new Map(Object.entries(unzipSync(packageApp(copy, join(folder, 'policies.zip')))))
    expect(policies.filter((name) => !files.has(name))).toEqual([])
    const others = ['local.settings.json', 'package-lock.json', 'tsconfig.build.json', 'azure.yaml', '.biome.json']
    letBy(...others)
    const faults = faultsOf(() => packageApp(copy, refused))
    for (const name of others) {
      expect(faults).toContain(`lets ${name} be deployed`)
      rmSync(join(copy, name))
    }

    letBy()
    writeFileSync(join(copy, 'tollgate.policy.yml'), '{}')
    expect(() => packageApp(copy, refused)).toThrow(
      'tollgate.policy.yml looks like the policy and would not be deployed',
    )
    rmSync(join(copy, 'tollgate.policy.yml'))

    letBy()
    writeFileSync(join(copy, 'dist/index.js.map'), '{}')
    expect(() => packageApp(copy, refused)).toThrow(/lets dist\/index\.js\.map be deployed/)
    rmSync(join(copy, 'dist'), { recursive: true })
    expect(() => packageApp(copy, refused)).toThrow(/dist\/index\.js is missing/)
    expect(existsSync(refused)).toBe(false)
  }, 90_000)
})

describe('the app, unpacked where no node_modules are', () => {
  const open = openAccount(inject('azurite'))
  let upstream: Upstream
  let host: RunningHost
  let key: string
  beforeAll(async () => {
    for (let above = app; above !== dirname(above); above = dirname(above))
      expect(existsSync(join(above, 'node_modules'))).toBe(false)
    // By a name of its own: revisions are kept by it, in tables that all tests share.
    const policy = join(app, `${unique('package')}.yaml`)
    writeFileSync(policy, POLICY)
    upstream = await startUpstream()
    host = await startHost(
      {
        APP_ROOT: app,
        TOLLGATE_STORAGE: inject('azurite'),
        TOLLGATE_POLICY: policy,
        OPENAI_BASE_URL: upstream.baseUrl,
        OPENAI_API_KEY: 'sk-upstream',
        TOLLGATE_CACHE_DEADLINE_MS: '5000',
      },
      BARE_HOST,
    )
    key = await newKey(open, unique('packaged'), 'ample')
  })
  afterAll(async () => {
    await host?.stop()
    await upstream?.close()
  })

  test('answers, and the second time from its cache', async () => {
    const prompt = unique('Why?')
    const ask = () => complete(host, { prompt, key })
    const expected = { status: 200, whole: true, text: `echo: ${prompt}` }
    expect(await ask()).toMatchObject({ ...expected, cacheStatus: 'tollgate; fwd=miss; stored' })
    expect(await ask()).toMatchObject({ ...expected, cacheStatus: expect.stringContaining('; hit') })
    expect(upstream.calls).toHaveLength(1)
  })

  test('streams', async () => {
    upstream.reply = streaming(['pack', 'ed'])
    const streamed = await complete(host, { prompt: unique('Why?'), key, stream: true })
    upstream.reply = answering()
    expect(streamed).toMatchObject({ status: 200, whole: true, text: 'packed' })
  })

  test('refuses whom it does not know, and who asks too often, by the policy that lies in its folder', async () => {
    expect((await generate(host, '{"prompt":"Why?"}')).status).toBe(401)
    const small = await newKey(open, unique('small'), 'small')
    const statuses: number[] = []
    for (let i = 0; i < 6; i += 1) statuses.push((await complete(host, { prompt: 'Why?', key: small })).status)
    expect(statuses).toEqual([200, 200, 200, 200, 200, 429])
  })

  test('is ready', async () => {
    upstream.reply = (_call, response) => response.end('{"data":[]}')
    const response = await fetch(`${host.url}/api/health?ready`)
    upstream.reply = answering()
    expect(await response.json()).toMatchObject({ status: 'ready' })
  })

  test('counts what a transform saves, by the vocabulary that it loads later', async () => {
    const rows = JSON.stringify([{ id: 1, name: 'Pump' }], null, 8)
    const { headers } = await generate(host, JSON.stringify({ prompt: `${unique('Why?')} <data>${rows}</data>` }), {
      'x-api-key': key,
    })
    const id = headers.get('x-request-id') ?? ''
    const line = () =>
      host
        .output()
        .split('\n')
        .find((each) => each.includes(id) && each.includes('"event":"request"'))
    await expect.poll(line).toMatch(/"savedTokens":[1-9]/)
  })

  test('sweeps when it is told to', async () => {
    const run = await fetch(`${host.url}/admin/functions/sweep`, { method: 'POST' })
    expect(run.status).toBe(202)
    await host.stop()
    expect(host.output()).not.toContain('cache sweep failed')
  })
})

function faultsOf(work: () => unknown): string {
  try {
    work()
  } catch (error) {
    return (error as Error).message
  }
  throw new Error('nothing was refused')
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** As much of this checkout as it takes to build and package it, with copies of the modules that are bundled. */
function copyCheckout(copy: string): void {
  for (const name of ['functions', 'packages', 'host.json', 'package.json', 'tsconfig.json', '.funcignore']) {
    cpSync(join(ROOT, name), join(copy, name), {
      recursive: true,
      filter: (path) => !path.includes(`${sep}node_modules`),
    })
  }
  const modules = Object.keys(metafile.inputs).filter((input) => input.startsWith('node_modules/'))
  // What a file's folders say of it decides how it is read.
  const manifests = new Set(modules.flatMap((file) => foldersOf(file).map((each) => `${each}/package.json`)))
  for (const file of [...modules, ...[...manifests].filter((each) => existsSync(join(ROOT, each)))]) {
    mkdirSync(dirname(join(copy, file)), { recursive: true })
    copyFileSync(join(ROOT, file), join(copy, file))
  }
  const link = (target: string, path: string) => {
    mkdirSync(dirname(path), { recursive: true })
    symlinkSync(target, path, 'junction')
  }
  for (const name of ['esbuild', 'fflate']) link(join(ROOT, 'node_modules', name), join(copy, 'node_modules', name))
  for (const name of ['middleware', 'azure-functions']) {
    link(join(copy, 'packages', name), join(copy, 'node_modules/@tollgate', name))
  }
}

/** Of `a/b/c`: `a`, `a/b`. */
function foldersOf(file: string): string[] {
  const parts = file.split('/')
  return parts.slice(1).map((_part, index) => parts.slice(0, index + 1).join('/'))
}
