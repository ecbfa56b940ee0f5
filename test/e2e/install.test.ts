import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { otherNode } from '../package/other-nodes.ts'
import { cleanEnv, ROOT } from '../support/host.ts'

/*
 * What each npm script runs first, in a repository of one dependency that is a folder, by the real npm or by one that takes
 * its time. Windows has no signals.
 */

/** Notes when it begins and ends. `SLOW` is how long it takes, `DEAF` that it heeds no signal. */
const FAKE_NPM = `
import { appendFileSync, mkdirSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
const note = (text) => appendFileSync('npm.log', text + ' ')
const { SLOW = '0', DEAF } = process.env
note('begin')
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
  process.on(signal, async () => {
    note(signal)
    if (DEAF) return
    await sleep(500)
    note('stopped')
    process.exit(1)
  })
rmSync('node_modules', { recursive: true, force: true })
await sleep(Number(SLOW))
mkdirSync('node_modules')
note('end')
`

let root: string
let started: ChildProcess[]
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'tollgate-install-'))
  started = []
  cpSync(join(ROOT, 'packages/workshop'), join(root, 'packages/workshop'), {
    recursive: true,
    filter: (path) => !path.includes('node_modules'),
  })
  write('package.json', { name: 'root', version: '1.0.0', private: true, dependencies: { dep: 'file:dep' } })
  write('dep/package.json', { name: 'dep', version: '1.0.0' })
  write('script.mjs', 'console.log("ran on", process.versions.node)')
  write('fake/npm.mjs', FAKE_NPM)
  write('fake/npm', `#!/bin/sh\nexec '${process.execPath}' '${join(root, 'fake/npm.mjs')}'\n`, 0o755)
  npm('install', '--package-lock-only')
})
afterEach(() => {
  for (const child of started) child.kill('SIGKILL')
  rmSync(root, { recursive: true, force: true })
})

function write(path: string, content: string | object, mode = 0o644): void {
  mkdirSync(dirname(join(root, path)), { recursive: true })
  writeFileSync(join(root, path), typeof content === 'string' ? content : JSON.stringify(content), { mode })
}

function npm(...args: string[]): void {
  const { status, stderr } = spawnSync('npm', [...args, '--offline', '--no-audit', '--no-fund'], {
    cwd: root,
    env: cleanEnv({}),
    encoding: 'utf8',
  })
  expect([status, stderr]).toEqual([0, ''])
}

/** With the slow npm in npm's place. */
function fakeNpm(env: Record<string, string>): NodeJS.ProcessEnv {
  return cleanEnv({ PATH: `${join(root, 'fake')}${delimiter}${process.env.PATH}`, ...env })
}

function start(env: Record<string, string> = {}, node = process.execPath) {
  const child = spawn(node, [join(root, 'packages/workshop/src/install.mjs'), 'script.mjs'], {
    cwd: root,
    env: fakeNpm(env),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  started.push(child)
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  const ended = once(child, 'close').then(([code, signal]) => ({ code: code ?? signal, output }))
  return { child, ended, output: () => output }
}

const log = () => (existsSync(join(root, 'npm.log')) ? readFileSync(join(root, 'npm.log'), 'utf8').trim() : '')
const begun = (times = 1) => expect.poll(() => log().match(/begin/g)?.length).toBe(times)

describe.skipIf(process.platform === 'win32')('A3: the first install', () => {
  test('is run once, and then not again', async () => {
    expect(await start().ended).toMatchObject({ code: 0, output: expect.stringMatching(/^Installing[^\n]*\nran on/) })
    expect(await start().ended).toMatchObject({ code: 0, output: expect.stringMatching(/^ran on/) })
    expect(log()).toBe('begin end')
  })

  test('is run once for all that start at once, and the others say what they wait for', async () => {
    const all = [1, 2, 3].map(() => start({ SLOW: '1000' }))
    const ends = await Promise.all(all.map(({ ended }) => ended))
    expect(ends.map(({ code }) => code)).toEqual([0, 0, 0])
    expect(log()).toBe('begin end')
    const pid = all.find(({ output }) => output().startsWith('Installing'))?.child.pid
    const waiting = ends.filter(({ output }) => !output.startsWith('Installing'))
    expect(waiting.map(({ output }) => output.split('\n')[0])).toEqual(
      Array(2).fill(`Another process (${pid}) is installing the dependencies; waiting for it …`),
    )
  })

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('ends by %s when npm has ended, and the next start installs anew', async (signal, code) => {
    const { child, ended } = start({ SLOW: '60000' })
    await begun()
    child.kill(signal)
    expect(await ended).toMatchObject({ code, output: expect.stringContaining('Stopping npm ci') })
    // npm had its time, and was told once.
    expect(log()).toBe(`begin ${signal} stopped`)
    expect(await start().ended).toMatchObject({ code: 0 })
    expect(log()).toBe(`begin ${signal} stopped begin end`)
  })

  test('ends when the npm that ran it is gone, which its shell doesn’t tell it', async () => {
    const install = `'${process.execPath}' '${join(root, 'packages/workshop/src/install.mjs')}'`
    // As npm does: a shell of its own, which dies of the signal.
    const shell = spawn('sh', ['-c', `${install}; true`], {
      cwd: root,
      env: { ...fakeNpm({ SLOW: '60000' }), npm_lifecycle_event: 'prestart' },
      stdio: 'ignore',
    })
    started.push(shell)
    await begun()
    shell.kill('SIGTERM')
    await expect.poll(log, { timeout: 5_000 }).toBe('begin SIGTERM stopped')
    expect(await start().ended).toMatchObject({ code: 0 })
  })

  test('ends at once by a second signal, and npm with it', async () => {
    const { child, ended } = start({ SLOW: '60000', DEAF: '1' })
    await begun()
    child.kill('SIGINT')
    await expect.poll(log).toContain('SIGINT')
    child.kill('SIGINT')
    expect(await ended).toMatchObject({ code: 130 })
    expect(await start().ended).toMatchObject({ code: 0 })
  })

  test('by npm goes on when its owner is killed, and the next waits for it', async () => {
    const first = start({ SLOW: '1500' })
    await begun()
    await expect.poll(() => readFileSync(join(root, '.tollgate-installing'), 'utf8').match(/pid/g)?.length).toBe(2)
    first.child.kill('SIGKILL')
    await first.ended
    const { output } = await start().ended
    expect(output).toContain('is installing the dependencies; waiting for it')
    expect(log()).toBe('begin end begin end')
  })

  test.each([
    ['a process that has died', { pid: 2 ** 30, began: '1' }],
    ['another process of that number', { pid: process.pid, began: 'long ago' }],
  ])('is not held up by the lock of %s', async (_whose, owner) => {
    write('.tollgate-installing', [owner])
    const { code, output } = await start().ended
    expect([code, output.split('\n')[0]]).toEqual([0, expect.stringMatching(/^Installing/)])
  })

  test('is told of where npm fails', async () => {
    write('fake/npm', '#!/bin/sh\nexit 1\n', 0o755)
    expect(await start().ended).toMatchObject({ code: 1, output: expect.stringContaining('npm ci failed') })
    expect(existsSync(join(root, '.tollgate-installing'))).toBe(false)
  })
})

describe.skipIf(process.platform === 'win32')('A3: what was installed by hand', () => {
  test.each(['ci', 'install'])('npm %s, is not installed again', async (command) => {
    npm(command)
    expect(await start().ended).toMatchObject({ code: 0, output: expect.stringMatching(/^ran on/) })
    expect(log()).toBe('')
  })

  test.each<[string, () => void]>([
    ['lacks a package', () => rmSync(join(root, 'node_modules/dep'))],
    [
      'was installed from another lockfile',
      () => {
        write('more/package.json', { name: 'more', version: '1.0.0' })
        const dependencies = { dep: 'file:dep', more: 'file:more' }
        write('package.json', { name: 'root', version: '1.0.0', private: true, dependencies })
        npm('install', '--package-lock-only')
      },
    ],
    ['npm did not finish', () => rmSync(join(root, 'node_modules/.package-lock.json'))],
  ])('is, where it %s', async (_what, spoil) => {
    npm('ci')
    spoil()
    expect(await start().ended).toMatchObject({ code: 0 })
    expect(log()).toBe('begin end')
  })
})

describe('A2: the Node that a script runs on', () => {
  const old = oldNode()
  const [node20, version] = [old?.path ?? '', old?.version ?? '']
  const why = old === undefined ? ' (no older Node is here: npm run test:package installs one)' : ''
  /** In the place of the package that holds it. */
  const installNode = () => {
    write('package.json', { name: 'root', version: '1.0.0', optionalDependencies: { 'node-here': '1.0.0' } })
    write('node_modules/node-here/bin/node', `#!/bin/sh\nexec '${process.execPath}' "$@"\n`, 0o755)
    const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
    write('node_modules/.package-lock.json', { packages })
    write('package-lock.json', { packages: { '': {} } })
    write('node_modules/.package-lock.json', { packages: {} })
  }

  test.skipIf(why !== '')(`is npm’s, also where no npm has set the PATH${why}`, async () => {
    installNode()
    const { code, output } = await start({ PATH: dirname(node20) }, node20).ended
    expect([code, output]).toEqual([0, `ran on ${process.versions.node}\n`])
  })

  test.skipIf(why !== '')(`is missing for its true reason${why}`, async () => {
    installNode()
    write('node_modules/node-here/bin/node', '#!/bin/sh\nexit 1\n', 0o755)
    const broken = await start({ PATH: dirname(node20) }, node20).ended
    expect([broken.code, broken.output]).toEqual([
      1,
      expect.stringMatching(
        `^Tollgate's scripts need Node 24 and found v${version}; the one that npm has installed, .*, does not run here\\. `,
      ),
    ])
    rmSync(join(root, 'node_modules/node-here'), { recursive: true })
    const none = await start({ PATH: dirname(node20) }, node20).ended
    expect([none.code, none.output]).toEqual([
      1,
      `Tollgate's scripts need Node 24 and found v${version}; npm has none for this platform (${process.platform}-${process.arch}). Install Node 24 yourself.\n`,
    ])
  })

  test.skipIf(why !== '')(`is looked at by vitest before it starts anything${why}`, () => {
    const vitest = join(ROOT, 'node_modules/vitest/vitest.mjs')
    const { status, stdout, stderr } = spawnSync(
      node20,
      [vitest, 'run', '--config', 'test/vitest.config.ts', 'packages/middleware/src/auth/key.test.ts'],
      { cwd: ROOT, env: cleanEnv({}), encoding: 'utf8' },
    )
    expect([status, stdout]).toEqual([1, ''])
    expect(stderr).toContain(`Tollgate's tests need Node 24, and this is Node ${version}. Run them by npm: `)
  })

  test('is looked at by every npm script', () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
      readonly scripts: Readonly<Record<string, string>>
    }
    const unlooked = Object.keys(scripts).filter(
      (name) => !(name.startsWith('pre') && scripts[name.slice(3)] !== undefined) && !looks(scripts, name),
    )
    expect(unlooked).toEqual([])
  })
})

/** One that `npm run test:package` has installed, or the machine's own, where it is older than what the scripts need. */
function oldNode(): { readonly path: string; readonly version: string } | undefined {
  const installed = otherNode('20')
  const onPath = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'node'))
  return ['path' in installed ? installed.path : '', ...onPath]
    .filter((path) => path !== '' && existsSync(path))
    .map((path) => ({
      path,
      version: spawnSync(path, ['-p', 'process.versions.node'], { encoding: 'utf8' }).stdout.trim(),
    }))
    .find(({ version }) => Number.parseInt(version, 10) < 24)
}

/** By its `pre` script, or by that of a script that this one runs. */
function looks(scripts: Readonly<Record<string, string>>, name: string): boolean {
  const before = scripts[`pre${name}`]
  return (
    before !== undefined && (before.includes('install.mjs') || /npm run (?:--silent )?(?:package|build)/.test(before))
  )
}
