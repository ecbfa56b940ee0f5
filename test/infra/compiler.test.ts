import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BICEP_VERSION } from '../../packages/workshop/src/bicep.ts'
import { ROOT } from '../support/host.ts'
import { bicep, type Compiler, NO_COMPILER, type Ran, startCompiler } from './compiler.ts'
import { filesOf } from './template.ts'

if (NO_COMPILER) console.info(`infra/ was parsed and checked by its structure, and not compiled: ${NO_COMPILER}.`)

const templates = filesOf('.bicep')
const parameterFiles = filesOf('.bicepparam')
const folder = mkdtempSync(join(tmpdir(), 'tollgate-bicep-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** The linter's rules that are off, and why. All others are on, and what they say fails a test below. */
const OFF: Readonly<Record<string, string>> = {
  'use-recent-api-versions':
    'goes by the day’s date: what passes today would fail on another day. platform.ts lists versions',
  'use-recent-module-versions': 'asks a registry of modules, and none of ours comes from one',
  'use-user-defined-types': 'tags, settings and lists of names have no other shape than that of their kind',
  'use-description-vars': 'a comment describes a variable whose name does not',
}

test('a rule of the linter is on, or off for a reason', () => {
  const { rules } = JSON.parse(readFileSync(join(ROOT, 'infra/bicepconfig.json'), 'utf8')).analyzers.core
  const names = Object.keys(rules)
  expect(names.length).toBeGreaterThan(50)
  // An error stops a deployment too, whichever compiler it is by: so only where a secret is at stake, or nothing would work.
  for (const name of names.filter((name) => /secret|secure-param/.test(name))) expect(rules[name].level).toBe('error')
  expect(names.filter((name) => !['warning', 'error'].includes(rules[name].level)).sort()).toEqual(
    Object.keys(OFF).sort(),
  )
})

test('what the compiler or the linter is told to overlook has its reason beside it', () => {
  const overlooked = templates.flatMap((file) =>
    readFileSync(join(ROOT, file), 'utf8')
      .split('\n')
      .filter((line) => line.includes('#disable-')),
  )
  expect(overlooked.length).toBeGreaterThan(0)
  for (const line of overlooked) expect(line).toMatch(/#disable-next-line [\w-]+ \/\/ \w.+\.$/)
})

/** What was said of one file, and what was said of none. */
function saidOf({ said }: Ran, file: string, all: readonly string[]): string[] {
  return said.filter((line) => line.includes(`${file}(`) || !all.some((other) => line.includes(`${other}(`)))
}

describe('`npm run bicep` says why there is no compiler, and is no failure,', () => {
  /** On a machine that has nothing but this folder of packages. */
  function run(packages: string): string {
    const { status, stdout } = spawnSync(process.execPath, [join(ROOT, 'packages/workshop/src/bicep.ts')], {
      env: { HOME: folder, PATH: folder, NUGET_PACKAGES: packages },
      encoding: 'utf8',
    })
    expect(status).toBe(0)
    return stdout
  }

  test('without the .NET SDK', () => {
    expect(run(join(folder, 'none'))).toMatch(
      /^No Bicep compiler, so infra\/ is parsed and not compiled: (?:the \.NET SDK is not on the PATH|.* is for Linux on x64: .*)\.$/m,
    )
  })

  test('with something else in its place, which is not run', () => {
    const packages = join(folder, 'packages')
    const tools = join(packages, 'azure.bicep.commandline.linux-x64', BICEP_VERSION, 'tools')
    mkdirSync(tools, { recursive: true })
    writeFileSync(join(tools, 'bicep'), '#!/bin/sh\necho run\n', { mode: 0o755 })
    expect(run(packages)).toContain('delete its folder, and fetch it again')
  })
})

describe.skipIf(NO_COMPILER !== undefined)('the compiler', () => {
  describe('has nothing to say,', () => {
    // All files of a kind in one run, since most of a run is the compiler's start.
    let build: Ran
    let lint: Ran
    let buildParams: Ran
    let lintParams: Ran
    beforeAll(() => {
      build = bicep('build', '--pattern', 'infra/**/*.bicep', '--outdir', join(folder, 'templates'))
      lint = bicep('lint', '--pattern', 'infra/**/*.bicep')
      buildParams = bicep('build-params', '--pattern', 'infra/**/*.bicepparam', '--outdir', join(folder, 'parameters'))
      lintParams = bicep('lint', '--pattern', 'infra/**/*.bicepparam')
    }, 120_000)

    test.each(templates)('when it builds and lints %s', (file) => {
      expect({ build: saidOf(build, file, templates), lint: saidOf(lint, file, templates) }).toEqual({
        build: [],
        lint: [],
      })
      expect([build.status, lint.status]).toEqual([0, 0])
      const built = file.replace(/^infra\//, '').replace(/\.bicep$/, '.json')
      expect(existsSync(join(folder, 'templates', built))).toBe(true)
    })

    test.each(parameterFiles)('when it builds and lints %s', (file) => {
      expect({ build: buildParams.said, lint: lintParams.said }).toEqual({ build: [], lint: [] })
      expect([buildParams.status, lintParams.status]).toEqual([0, 0])
      const built = join(folder, 'parameters', file.replace(/^infra\//, '').replace(/\.bicepparam$/, '.json'))
      expect(JSON.parse(readFileSync(built, 'utf8')).parameters.environmentName).toEqual({ value: 'dev' })
    })
  })

  // The compiler checks what it can see. That it sees these is what the templates are written for.
  describe('finds', () => {
    let compiler: Compiler
    beforeAll(() => {
      cpSync(join(ROOT, 'infra'), join(folder, 'infra'), { recursive: true })
      compiler = startCompiler()
    })
    afterAll(() => compiler?.stop())

    test.each<[string, string, string, string, string]>([
      ['a property of the app', 'modules/app', 'keyVaultReferenceIdentity:', 'keyVaultReferenceId:', 'BCP037'],
      ['a property of its configuration', 'modules/app', "minTlsVersion: '1.2'", "minTlsVersio: '1.2'", 'BCP037'],
      ['a property of CORS', 'modules/app', 'supportCredentials: false', 'supportCredential: false', 'BCP037'],
      ['a property of an app setting', 'modules/app', 'name: setting.key', 'nam: setting.key', 'BCP037'],
      ['a property of scaling', 'modules/app', 'instanceMemoryMB: i', 'instanceMemoryMb: i', 'BCP089'],
      ['a type of a property', 'modules/app', 'instanceMemoryMB: i', "instanceMemoryMB: '1' // ", 'BCP036'],
      ['a property of a deployment', 'modules/open-ai', 'deployment.sku', 'deployment.sk', 'BCP187'],
      ['a property of storage', 'modules/storage', 'allowSharedKeyAccess:', 'allowSharedKeyAcces:', 'BCP089'],
      ['a property of an alert', 'modules/alerts', 'metricMeasureColumn:', 'metricMeasureColum:', 'BCP089'],
      [
        'a name that only the deployment shows',
        'main',
        'vaultName: vaultName',
        'vaultName: vault.outputs.name',
        'what-if-short-circuiting',
      ],
      [
        'a key that is put out',
        'modules/redis',
        'string = url.name',
        'string = database.listKeys().primaryKey',
        'outputs-should-not-contain-secrets',
      ],
      [
        'a secret with a default',
        'main',
        "openAiApiKey string = ''",
        "openAiApiKey string = 'sk-1'",
        'secure-parameter-default',
      ],
    ])('what is wrong with %s', async (_what, name, from, to, code) => {
      const file = join(folder, 'infra', `${name}.bicep`)
      const text = readFileSync(file, 'utf8')
      expect(text).toContain(from)
      // Beside it, so that its modules are found and no other mistake is.
      const changed = file.replace(basename(file), `changed-${Math.random()}.bicep`)
      writeFileSync(changed, text.replace(from, to))
      const { diagnostics } = await compiler.compile(changed)
      expect(diagnostics.map(({ code }) => code)).toContain(code)
    })
  })
})
