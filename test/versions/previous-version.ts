import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ROOT } from '../support/host.ts'

/** The version that ran before this one; a release sets it to the release before. */
const COMMIT = '49ec9e5368ae3b57e7d19cde41fa0c76ff5a2048'

const git = (...args: string[]) => spawnSync('git', ['-C', ROOT, ...args], { maxBuffer: 64 * 1024 * 1024 })

/** Why no test can have the previous version here; `undefined` where one can. */
export const noPrevious =
  git('cat-file', '-e', `${COMMIT}^{commit}`).status === 0
    ? undefined
    : `skipped, since the history here does not reach back to ${COMMIT.slice(0, 7)}`

export interface PreviousVersion {
  /** Its Function app: a repository of its own, with our installed packages. */
  readonly root: string
  /** The sources of its middleware. */
  readonly middleware: string
  /** Builds its `dist/`. */
  build(): void
  remove(): void
}

/** The previous version's sources, taken from the history into a temporary folder. */
export function previousVersion(): PreviousVersion {
  const root = mkdtempSync(join(tmpdir(), 'tollgate-previous-'))
  const { stdout, stderr, status } = git('archive', COMMIT, 'functions', 'packages', 'host.json', 'package.json')
  if (status !== 0) throw new Error(`git archive failed: ${stderr}`)
  execFileSync('tar', ['-x', '-C', root], { input: stdout })
  linkModules(root)
  return {
    root,
    middleware: join(root, 'packages/middleware/src'),
    build: () => execFileSync(process.execPath, [join(root, 'packages/workshop/src/build.ts')], { stdio: 'pipe' }),
    remove: () => rmSync(root, { recursive: true, force: true }),
  }
}

/** Links to all that is installed, but its own packages are its own. Junctions, which Windows lets anyone make. */
function linkModules(root: string): void {
  const modules = join(root, 'node_modules')
  mkdirSync(join(modules, '@tollgate'), { recursive: true })
  for (const { name } of readdirSync(join(ROOT, 'node_modules'), { withFileTypes: true })) {
    if (!name.startsWith('.') && name !== '@tollgate')
      symlinkSync(join(ROOT, 'node_modules', name), join(modules, name), 'junction')
  }
  for (const name of readdirSync(join(root, 'packages'))) {
    symlinkSync(join(root, 'packages', name), join(modules, '@tollgate', name), 'junction')
    const nested = join(ROOT, 'packages', name, 'node_modules')
    if (existsSync(nested)) symlinkSync(nested, join(root, 'packages', name, 'node_modules'), 'junction')
  }
}
