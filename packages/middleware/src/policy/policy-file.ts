import { createHash } from 'node:crypto'
import { closeSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs'
import { basename, dirname, isAbsolute, join } from 'node:path'
import { closestName } from './closest-name.ts'
import { PolicyError } from './policy.ts'
import { POLICY_FILE, strayPolicy } from './policy-file-name.ts'

/** Where the policy document lies. */
export interface PolicyLocation {
  /** The app's root folder. */
  readonly root: string
  /** `TOLLGATE_POLICY`: a path, from the root if relative. Unset: `tollgate.policy.yaml` if there is one. */
  readonly path: string | undefined
}

export interface PolicyFile {
  /** As messages name it. */
  readonly source: string
  readonly text: string
  /** The first 12 hexadecimal digits of the SHA-256 of its bytes, to tell which revision is in force. */
  readonly digest: string
}

/** Enough for 10,000 plans with a few limits each. */
const MOST_BYTES = 1024 * 1024

/**
 * The policy's file; `undefined` where there is none, and nothing that looks as if it were meant to be one.
 *
 * @throws PolicyError for a file that can't be read, is too large or not UTF-8, and for a name that only resembles the
 * policy's: passed over in silence, it would leave the defaults in force.
 */
export function readPolicyFile({ root, path }: PolicyLocation): PolicyFile | undefined {
  const source = path ?? POLICY_FILE
  if (source.trim() === '') {
    throw new PolicyError('TOLLGATE_POLICY', ['it is blank. Set the path of the policy, or unset it.'])
  }
  const names = path === undefined ? namesIn(root) : []
  refuseNearMisses(names)
  const bytes = read(
    isAbsolute(source) ? source : join(root, source),
    source,
    path === undefined && !names.includes(source),
  )
  if (bytes === undefined) return undefined
  const digest = createHash('sha256').update(bytes).digest('hex').slice(0, 12)
  return { source, text: decode(bytes, source), digest }
}

function refuseNearMisses(names: readonly string[]): void {
  const hasPolicy = names.includes(POLICY_FILE)
  const stray = strayPolicy(names)
  if (stray === undefined) return
  throw new PolicyError(stray, [
    hasPolicy
      ? `only ${POLICY_FILE}, beside it, is read. Remove the one that is not meant, or set TOLLGATE_POLICY to the one that is.`
      : `it would not be read: the policy's name is ${POLICY_FILE}. Rename it, or set TOLLGATE_POLICY=${stray}; if it is no policy, move it out of the app's folder.`,
  ])
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).toSorted()
  } catch {
    // What keeps the folder from being listed keeps its files from being read, which says why.
    return []
  }
}

const READ_FAULTS: Readonly<Record<string, string>> = {
  EACCES: 'the app may not read it. Give its user the right to read the file and its folder.',
  EPERM: 'the app may not read it. Give its user the right to read the file and its folder.',
  EISDIR: 'it is a folder. Name the file in it by TOLLGATE_POLICY.',
  ELOOP: 'it is a link that leads back to itself. Put the file in its place.',
  ENAMETOOLONG: 'its name is too long for a file. TOLLGATE_POLICY takes a path, not the policy itself.',
}

/** Its bytes; `undefined` where it may be absent and is. */
function read(path: string, source: string, mayBeAbsent: boolean): Buffer | undefined {
  let file: number | undefined
  try {
    file = openSync(path, 'r')
    const stat = fstatSync(file)
    if (stat.isDirectory()) throw new PolicyError(source, [READ_FAULTS.EISDIR ?? ''])
    if (!stat.isFile()) throw new PolicyError(source, ['it is no regular file. Put the policy into a file.'])
    return readBounded(file, source)
  } catch (error) {
    if (error instanceof PolicyError) throw error
    const { code = 'an unknown error' } = error as NodeJS.ErrnoException
    if (code !== 'ENOENT' && code !== 'ENOTDIR') {
      throw new PolicyError(source, [
        READ_FAULTS[code] ?? `it can't be read (${code}). See that the disk and the path are well.`,
      ])
    }
    if (mayBeAbsent) return undefined
    throw new PolicyError(source, [absent(path, source)])
  } finally {
    if (file !== undefined) closeSync(file)
  }
}

/** The size that a file system tells may be stale, so the bound is on what is read. */
function readBounded(file: number, source: string): Buffer {
  const buffer = Buffer.alloc(MOST_BYTES + 1)
  let length = 0
  for (let read = -1; read !== 0 && length < buffer.length; length += read) {
    read = readSync(file, buffer, length, buffer.length - length, null)
  }
  if (length > MOST_BYTES) {
    throw new PolicyError(source, [
      `it is larger than ${MOST_BYTES.toLocaleString('en-US')} bytes. Give more consumers the same plan.`,
    ])
  }
  return buffer.subarray(0, length)
}

function absent(path: string, source: string): string {
  const names = namesIn(dirname(path))
  if (source === POLICY_FILE && names.includes(basename(path))) {
    return 'it is a link to a file that does not exist. Put the file in its place.'
  }
  const meant = closestName(basename(path), names)
  const hint = meant === undefined ? '' : ` Did you mean ${join(dirname(source), meant)}?`
  return `the file does not exist. Correct TOLLGATE_POLICY or unset it.${hint}`
}

function decode(bytes: Buffer, source: string): string {
  const isWide = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)
  if (isWide || bytes.subarray(0, 1024).includes(0)) {
    throw new PolicyError(source, ['it is UTF-16, or no text at all. Save it as UTF-8.'])
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new PolicyError(source, ['it is not UTF-8. Save it as UTF-8.'])
  }
}
