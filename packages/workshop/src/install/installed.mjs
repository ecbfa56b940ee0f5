import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Whether node_modules holds what package-lock.json names, by npm's own record of what it has installed and by the packages
 * themselves. Whoever ran `npm install` or `npm ci` by hand need not wait for it again.
 *
 * @param {string} root
 */
export function isInstalled(root) {
  const wanted = packagesOf(join(root, 'package-lock.json'))
  const there = packagesOf(join(root, 'node_modules/.package-lock.json'))
  if (wanted === undefined || there === undefined) return false
  delete wanted['']
  return (
    Object.keys(there).every((path) => wanted[path] !== undefined) &&
    Object.entries(wanted).every(([path, entry]) =>
      there[path] === undefined ? isForOthers(entry) : isSame(entry, there[path]) && isThere(root, path, entry),
    )
  )
}

function packagesOf(file) {
  return readJson(file)?.packages
}

function isSame(wanted, there) {
  return wanted.version === there.version && wanted.integrity === there.integrity && wanted.link === there.link
}

function isThere(root, path, { version, link }) {
  const manifest = readJson(join(root, path, 'package.json'))
  return manifest !== undefined && (link === true || version === undefined || manifest.version === version)
}

/** An optional package that npm leaves out here: for another system, or needed by one such. */
function isForOthers({ optional, os, cpu, libc }) {
  if (optional !== true) return false
  if (os === undefined && cpu === undefined) return true
  return !admits(os, process.platform) || !admits(cpu, process.arch) || !admits(libc, libcOf())
}

/** As npm names them; the report is Node's only word on it. */
function libcOf() {
  const { header } = process.report.getReport()
  return header.glibcVersionRuntime === undefined ? 'musl' : 'glibc'
}

/** npm's form: names, each that is not meant with a `!`. */
function admits(names, name) {
  const listed = [names ?? []].flat()
  if (listed.includes(`!${name}`)) return false
  return listed.every((each) => each.startsWith('!')) || listed.includes(name)
}

function readJson(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
}
