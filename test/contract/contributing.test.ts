import { execFile } from 'node:child_process'
import {
  appendFileSync,
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
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cleanEnv, ROOT } from '../support/host.ts'

interface Shown {
  readonly path: string
  /** Whether the lines go to the end of a file that is there. */
  readonly added: boolean
  readonly text: string
}

/** The code on the page: a fence's info string names the file. */
const shown: Shown[] = [
  ...readFileSync(join(ROOT, 'CONTRIBUTING.md'), 'utf8').matchAll(/^```ts (\S+?)(, added)?\n([\s\S]*?)^```$/gm),
].map(([, path = '', added, text = '']) => ({ path, added: added !== undefined, text }))
const files = shown.filter(({ added }) => !added).map(({ path }) => path)
const tests = files.filter((path) => path.endsWith('.test.ts'))

const copy = mkdtempSync(join(tmpdir(), 'tollgate-contributing-'))
const modules = join(copy, 'node_modules')
beforeAll(() => {
  for (const name of [
    'examples',
    'functions',
    'packages',
    'test',
    '.biome.json',
    'host.json',
    'package.json',
    'tsconfig.json',
  ]) {
    cpSync(join(ROOT, name), join(copy, name), {
      recursive: true,
      filter: (path) => !path.includes(`${sep}node_modules`),
    })
  }
  // Links to all that is installed, but our own packages are the copy's. Junctions, which Windows lets anyone make.
  const link = (target: string, path: string) => symlinkSync(target, path, 'junction')
  mkdirSync(join(modules, '@tollgate'), { recursive: true })
  for (const entry of readdirSync(join(ROOT, 'node_modules'), { withFileTypes: true })) {
    const { name } = entry
    if (entry.isDirectory() && !name.startsWith('.') && name !== '@tollgate')
      link(join(ROOT, 'node_modules', name), join(modules, name))
  }
  for (const name of readdirSync(join(copy, 'packages'))) {
    link(join(copy, 'packages', name), join(modules, '@tollgate', name))
    const nested = join(ROOT, 'packages', name, 'node_modules')
    if (existsSync(nested)) link(nested, join(copy, 'packages', name, 'node_modules'))
  }
  for (const { path, added, text } of shown) {
    mkdirSync(dirname(join(copy, path)), { recursive: true })
    if (added) appendFileSync(join(copy, path), text)
    else writeFileSync(join(copy, path), text, { flag: 'wx' })
  }
})
afterAll(() => rmSync(copy, { recursive: true, force: true }))

/** What the command printed. */
async function run(script: string, ...args: string[]): Promise<string> {
  const env = cleanEnv({ NO_COLOR: '1' })
  for (const name of Object.keys(env)) if (/^(?:VITEST|FORCE_COLOR|NODE_ENV|NODE_OPTIONS)/.test(name)) delete env[name]
  const options = { cwd: copy, env, timeout: 60_000 }
  return promisify(execFile)(process.execPath, [script, ...args], options).then(
    ({ stdout }) => stdout,
    ({ stdout, stderr }) => {
      throw new Error(`${script} failed:\n${stdout}${stderr}`)
    },
  )
}

/** What a package's command runs. */
function command(name: string): string {
  const folder = join(ROOT, 'node_modules', name)
  const { bin } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  return join(folder, typeof bin === 'string' ? bin : (Object.values<string>(bin)[0] ?? ''))
}

test('the page names the file above each block, and shows a middleware, a surface, an operation, a store and a kind of target, each with a test', () => {
  const page = readFileSync(join(ROOT, 'CONTRIBUTING.md'), 'utf8')
  for (const { path, added } of shown)
    expect(page).toContain(`\n\`${path}\`${added ? ', *added*' : ''}\n\n\`\`\`ts ${path}`)
  expect(tests).toHaveLength(5)
  // A file and a test each, and the file of ten lines that gives a surface its URL.
  expect(files).toHaveLength(11)
})

test('what the page shows compiles, stands where it may, and is as the formatter wants it', async () => {
  await run(command('typescript'), '-p', '.')
  expect(await run('packages/workshop/src/check-imports.ts')).toContain(' 0 faults')
  await run(command('@biomejs/biome'), 'ci', '--colors=off', '--vcs-enabled=false', ...files)
}, 60_000)

test('the tests on the page pass, in the bundle too', async () => {
  await run('packages/workshop/src/build.ts')
  const output = await run(command('vitest'), 'run', '--config', 'test/vitest.config.ts', ...tests)
  expect(output).toContain(`Test Files  ${tests.length} passed (${tests.length})`)
}, 60_000)
