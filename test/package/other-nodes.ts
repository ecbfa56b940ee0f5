import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../support/host.ts'

/*
 * Node 20, 22.0 and 22 from npm, beside the one that runs us. Pinned by a lockfile of their own, in test/package/nodes.
 */

export type OtherNode = '20' | '22.0' | '22'

const FOLDER = join(ROOT, 'test/package/nodes')
const PLATFORM = `${process.platform}-${process.arch}`

const { optionalDependencies } = JSON.parse(readFileSync(join(FOLDER, 'package.json'), 'utf8')) as {
  readonly optionalDependencies: Readonly<Record<string, string>>
}

/** @throws where npm fails; its own words are on the terminal. */
export function installOtherNodes(): void {
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  // On Windows npm is a script, which only a shell can run.
  const shell = process.platform === 'win32'
  const { status } = spawnSync('npm', args, { cwd: FOLDER, stdio: 'inherit', shell })
  if (status !== 0) throw new Error('npm ci failed in test/package/nodes')
}

/** The binary; where there is none, why not. */
export function otherNode(version: OtherNode): { readonly path: string } | { readonly missing: string } {
  const name = `node-${version}-${PLATFORM}`
  if (optionalDependencies[name] === undefined) return { missing: `npm has no Node ${version} for ${PLATFORM}` }
  const path = join(FOLDER, 'node_modules', name, 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
  return existsSync(path) ? { path } : { missing: `Node ${version} is not installed: npm run test:package does it` }
}
