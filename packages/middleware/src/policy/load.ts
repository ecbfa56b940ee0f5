import { readFileSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { parse } from 'yaml'
import { type Policy, PolicyError } from './policy.ts'
import { outline, type PolicyOutline, type ResolveOptions, resolvePolicy } from './resolve.ts'

export const POLICY_FILE = 'tollgate.policy.yaml'

/** Where the policy document lies. */
export interface PolicyLocation {
  /** The app's root folder. */
  readonly root: string
  /** `TOLLGATE_POLICY`: a path, from the root if relative. Unset: `tollgate.policy.yaml` if there is one. */
  readonly path: string | undefined
}

export interface LoadOptions extends PolicyLocation, Omit<ResolveOptions, 'source'> {}

/**
 * The policy that ships with the app, or the defaults where there is none.
 *
 * @throws PolicyError when the named file is missing, is not YAML or JSON, or is refused.
 */
export function loadPolicy(options: LoadOptions): Policy {
  const { source, document } = readDocument(options)
  return resolvePolicy(document, { ...options, source })
}

/** What that policy says by itself: nothing of the app's own settings is needed. @throws PolicyError */
export function outlinePolicy(location: PolicyLocation): PolicyOutline {
  const { source, document } = readDocument(location)
  return outline(document, source)
}

function readDocument({ root, path }: PolicyLocation): { source: string; document: unknown } {
  const source = path ?? POLICY_FILE
  const text = read(isAbsolute(source) ? source : join(root, source))
  if (text === undefined && path !== undefined) {
    throw new PolicyError(source, ['the file does not exist. Correct TOLLGATE_POLICY or unset it.'])
  }
  return { source, document: text === undefined ? {} : parseDocument(source, text) }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** YAML 1.2, of which JSON is a part. An empty document is the defaults. */
function parseDocument(name: string, text: string): unknown {
  try {
    return parse(text) ?? {}
  } catch (error) {
    throw new PolicyError(name, [`not valid YAML or JSON: ${(error as Error).message.split('\n')[0]}`])
  }
}
