import type { Policy } from './policy.ts'
import { PolicyError } from './policy.ts'
import { type PolicyLocation, readPolicyFile } from './policy-file.ts'
import {
  type Document,
  type KnownRoutes,
  outlineDocument,
  type PolicyOutline,
  type ResolveOptions,
  resolveDocument,
} from './resolve.ts'
import { parseYaml } from './yaml-document.ts'

export type { PolicyLocation } from './policy-file.ts'
export { POLICY_FILE } from './policy-file-name.ts'

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
  location: PolicyLocation & KnownRoutes,
): PolicyOutline & { readonly source: DocumentSource } {
  const { document, source } = readDocument(location)
  return { ...outlineDocument(document, location), source }
}

function readDocument(location: PolicyLocation): { readonly document: Document; readonly source: DocumentSource } {
  const file = readPolicyFile(location)
  if (file === undefined) {
    return {
      document: { value: {}, source: 'the default policy', isFile: false },
      source: { file: undefined, digest: undefined },
    }
  }
  const parsed = parseYaml(file.text)
  if (parsed.faults !== undefined) throw new PolicyError(file.source, parsed.faults)
  const { document: value, lineOf } = parsed
  return {
    document: { value, source: file.source, isFile: true, lineOf },
    source: { file: file.source, digest: file.digest },
  }
}
