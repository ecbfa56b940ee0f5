import {
  type DocumentSource,
  openTables,
  outlinePolicy,
  outlinePolicyText,
  POLICY_FILE,
  type PolicyFile,
  type PolicyOutline,
  placeOf,
  policyRevisions,
  type Revision,
  readPolicyFile,
  revisionText,
  type StorageLocation,
  shortDigest,
} from '@tollgate/middleware'

/** What the app will go by, and what a person is told where that is another policy than its file. */
export interface PolicyAtStart {
  readonly outline: PolicyOutline & { readonly source: DocumentSource }
  readonly notes: readonly string[]
}

/** A start waits no longer for what the app itself reads as well. */
const TIMEOUT_MS = 5_000

/**
 * The policy that the app will go by: its file where that is new, or was saved after what is in force was applied; else what is in force
 * in its tables.
 *
 * @throws PolicyError for a file that can't be used
 */
export async function policyAtStart(
  location: StorageLocation,
  { root, path }: { readonly root: string; readonly path: string | undefined },
): Promise<PolicyAtStart> {
  const own: PolicyAtStart = { outline: outlinePolicy({ root, path }), notes: [] }
  if (location.kind === 'memory') return own
  const file = readPolicyFile({ root, path })
  const table = openTables(location)('tollgatepolicy')
  const revisions = policyRevisions({ table, name: path ?? POLICY_FILE })
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  try {
    const head = await revisions.look(signal)
    const place = file && (await placeOf(file, { head, revisions, appliesSaved: true, signal }))
    if (head.current === undefined || place === 'new' || place === 'current') return own
    const { revision } = head.current
    const text = await revisions.textOf(head.current, signal)
    const outline = outlinePolicyText({ text, source: revisionText(revision) })
    const when = `applied ${new Date(revision.at).toISOString()} by ${revision.by}`
    const source = { file: `${revisionText(revision)}, ${when}`, digest: shortDigest(revision) }
    return { outline: { ...outline, source }, notes: file && place ? [fileNote(file, place)] : [] }
  } catch {
    // The app reads it too, and says what is wrong.
    return own
  }
}

function fileNote({ source, digest }: PolicyFile, before: Revision): string {
  return (
    `${source} (${digest}) is not in force: it was, as ${revisionText(before)}, and was not saved since. Save it again, or: ` +
    `npm run tollgate -- policy rollback ${before.number}`
  )
}
