import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** The Node that the scripts and tests run on; npm installs it beside the other packages. */
export const NEEDED = 24

/**
 * The Node to run scripts on: npm's, or, where npm has none for this machine, the machine's own.
 *
 * @param {string} root
 * @returns {string} its path @throws Error where there is none, in a sentence for the user
 */
export function findNode(root) {
  const installed = installedNode(root)
  const found = [installed, process.execPath, 'node']
    .filter((node) => node !== undefined)
    .find((node) => Number.parseInt(versionOf(node), 10) >= NEEDED)
  if (found !== undefined) return found
  const why =
    installed === undefined
      ? `npm has none for this platform (${process.platform}-${process.arch})`
      : `the one that npm has installed, ${installed}, does not run here`
  throw new Error(
    `Tollgate's scripts need Node ${NEEDED} and found ${process.version}; ${why}. Install Node ${NEEDED} yourself.`,
  )
}

/** By the packages and not by the PATH, which has them only where npm runs the script. */
function installedNode(root) {
  const { optionalDependencies = {} } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const binary = process.platform === 'win32' ? 'node.exe' : 'node'
  return Object.keys(optionalDependencies)
    .filter((name) => name.startsWith('node-'))
    .map((name) => join(root, 'node_modules', name, 'bin', binary))
    .find((path) => existsSync(path))
}

function versionOf(node) {
  if (node === process.execPath) return process.versions.node
  return spawnSync(node, ['-p', 'process.versions.node'], { encoding: 'utf8' }).stdout ?? ''
}
