import { createHash } from 'node:crypto'
import { closeSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs'
import { basename, dirname, isAbsolute, join } from 'node:path'
import { parseYaml } from './document.ts'
import { closestName } from './names.ts'
import { type Policy, PolicyError } from './policy.ts'
import {
  type Document,
  type KnownRoutes,
  outlineDocument,
  type PolicyOutline,
  type ResolveOptions,
  resolveDocument,
} from './resolve.ts'
import type { KnownKinds } from './target.ts'

/* The policy's file: which one it is, what is read of it, and which names only resemble it. */

export const POLICY_FILE = 'tollgate.policy.yaml'

/** Where the policy document lies. */
export interface PolicyLocation {
  /** The app's root folder. */
  readonly root: string
  /** `TOLLGATE_POLICY`: a path, from the root if relative. Unset: `tollgate.policy.yaml` if there is one. */
  readonly path: string | undefined
}

export interface LoadOptions extends PolicyLocation, Omit<ResolveOptions, 'source'> {}

/** Which document a policy was read from. */
export interface DocumentSource {
  /** The file as it was named; `undefined` for the defaults, where there is none. */
  readonly file: string | undefined
  /** The first 12 hexadecimal digits of the SHA-256 of its bytes; `undefined` for the defaults. */
  readonly digest: string | undefined
}

export interface LoadedPolicy {
  readonly policy: Policy
  readonly source: DocumentSource
}

/**
 * The policy that ships with the app, or the defaults where there is none.
 *
 * @throws PolicyError when the file is missing, empty, too large, is not YAML or JSON, or is refused.
 */
export function loadPolicy(options: LoadOptions): Policy {
  return readPolicy(options).policy
}

/** The same, with what it was read from. @throws PolicyError */
export function readPolicy(options: LoadOptions): LoadedPolicy {
  const { document, source } = readDocument(options)
  return { policy: resolveDocument(document, options), source }
}

/** What that policy says by itself: nothing of the app's own settings is needed. @throws PolicyError */
export function outlinePolicy(
  location: PolicyLocation & KnownRoutes & KnownKinds,
): PolicyOutline & { readonly source: DocumentSource } {
  const { document, source } = readDocument(location)
  return { ...outlineDocument(document, location), source }
}

function readDocument(location: PolicyLocation): { readonly document: Document; readonly source: DocumentSource } {
  const file = readPolicyFile(location)
  if (file === undefined) return { document: NO_DOCUMENT, source: { file: undefined, digest: undefined } }
  return { document: documentOf(file), source: { file: file.source, digest: file.digest } }
}

const NO_DOCUMENT: Document = { value: {}, source: 'the default policy', isFile: false }

/** A policy's document as it is written. */
export interface PolicyText {
  /** What it came from, as messages name it. */
  readonly source: string
  readonly text: string
}

/** @param of `undefined` for the defaults. @throws PolicyError */
export function resolvePolicyText(of: PolicyText | undefined, options: Omit<ResolveOptions, 'source'>): Policy {
  return resolveDocument(of === undefined ? NO_DOCUMENT : documentOf(of), options)
}

/** What it says by itself: nothing of an app's own settings is needed. @throws PolicyError */
export function outlinePolicyText(of: PolicyText | undefined, options: KnownRoutes & KnownKinds = {}): PolicyOutline {
  return outlineDocument(of === undefined ? NO_DOCUMENT : documentOf(of), options)
}

/** @throws PolicyError for what is no YAML or JSON */
export function documentOf({ source, text }: PolicyText): Document {
  if (Buffer.byteLength(text) > MOST_BYTES) throw new PolicyError(source, [TOO_LARGE])
  const parsed = parseYaml(text)
  if (parsed.faults !== undefined) throw new PolicyError(source, parsed.faults)
  const { document: value, lineOf } = parsed
  return { value, source, isFile: true, lineOf }
}

export interface PolicyFile extends PolicyText {
  /** The first 12 hexadecimal digits of the SHA-256 of its bytes, to tell which revision is in force. */
  readonly digest: string
  /** Milliseconds since 1970, by this machine's clock. */
  readonly savedAt: number
}

/** Enough for 10,000 plans with a few limits each. */
const MOST_BYTES = 1024 * 1024
const TOO_LARGE = `it is larger than ${MOST_BYTES.toLocaleString('en-US')} bytes. Give more consumers the same plan.`

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
  const found = read(
    isAbsolute(source) ? source : join(root, source),
    source,
    path === undefined && !names.includes(source),
  )
  if (found === undefined) return undefined
  const { bytes, savedAt } = found
  const digest = createHash('sha256').update(bytes).digest('hex').slice(0, 12)
  return { source, text: decode(bytes, source), digest, savedAt }
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

/** Its bytes, and when they were written; `undefined` where it may be absent and is. */
function read(
  path: string,
  source: string,
  mayBeAbsent: boolean,
): { readonly bytes: Buffer; readonly savedAt: number } | undefined {
  let file: number | undefined
  try {
    file = openSync(path, 'r')
    const stat = fstatSync(file)
    if (stat.isDirectory()) throw new PolicyError(source, [READ_FAULTS.EISDIR ?? ''])
    if (!stat.isFile()) throw new PolicyError(source, ['it is no regular file. Put the policy into a file.'])
    return { bytes: readBounded(file, source), savedAt: stat.mtimeMs }
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
    throw new PolicyError(source, [TOO_LARGE])
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

/** What editors and people add to the name of a copy that is not to be used. */
const COPY = /(?:~|\.(?:bak|backup|orig|old|tmp|swp|save|example|sample|template|dist|disabled|off)\d*)$/i
/** A pattern for policies, or their schema, says so before its extension as well. */
const PATTERN = /[.-](?:example|sample|template|schema)\.\w+$/i
const EXTENSION = /\.(?:ya?ml|yamls?|yalm|ymal|yml?s|json[5cl]?|toml)(?:\.txt)?\s*$|\.txt\s*$/i

/** The first of a folder's files that is thought to be the policy, and is not read as it. */
export function strayPolicy(names: readonly string[]): string | undefined {
  const hasPolicy = names.includes(POLICY_FILE)
  return names.find((name) => name !== POLICY_FILE && (meansPolicy(name) || (!hasPolicy && looksLikePolicy(name))))
}

/** Whether a file's name is the policy's but for case, punctuation, extension or a typo: `Tollgate-Policy.yml`. */
function meansPolicy(file: string): boolean {
  const stem = stemOf(file)
  const isOurs = EXTENSION.test(file) || !/\.\w{1,4}$/.test(stem)
  return (
    isOurs &&
    stem !== '' &&
    closestName(stem, ['tollgate.policy', 'tollgate.policies'], 2) !== undefined &&
    wordsOf(stem) <= 2
  )
}

/** Whether, where there is no policy, a file may be thought to be it: `policy.yaml`, `tollgate.policy.prod.yaml`. */
function looksLikePolicy(file: string): boolean {
  const stem = stemOf(file)
  if (stem === '' || !EXTENSION.test(file) || /\.txt$/i.test(file)) return false
  const [first = '', second = ''] = stem.toLowerCase().split(/[^a-z0-9]+/)
  const isPolicy = (word: string) => closestName(word, ['policy', 'policies'], 1) !== undefined
  const isTollgate = closestName(first, ['tollgate'], 2) !== undefined
  return (isPolicy(first) && second === '') || (isTollgate && (second === '' || isPolicy(second)))
}

/** Its name without extension and leading dot; empty for a copy, and for what is hidden otherwise. */
function stemOf(file: string): string {
  return COPY.test(file) || PATTERN.test(file) ? '' : file.replace(EXTENSION, '').replace(/^\./, '')
}

function wordsOf(stem: string): number {
  return stem.split(/[^A-Za-z0-9]+/).length
}
