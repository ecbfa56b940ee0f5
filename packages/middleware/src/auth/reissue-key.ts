import { isOutage } from '../pipeline/index.ts'
import { familyOf, type KeyRecord } from './consumer.ts'
import { addNewKey, IssueKeyError } from './issue-key.ts'
import type { ConsumerStore } from './store.ts'

/** A key in the place of another one. */
export interface ReissuedKey {
  /** The new one in clear. It is shown once and can't be had again. */
  readonly key: string
  readonly record: KeyRecord
  /**
   * When the old one ends, in milliseconds since 1970: at the end of the grace, or at its own expiry where that is sooner. `undefined`
   * where it could not be told to end, though the new one is there: it stays as it was.
   */
  readonly oldEndsAt: number | undefined
}

export interface ReissueKeyOptions {
  /** How long the old key works beside the new one, in milliseconds; 0 for no longer. */
  readonly graceMs: number
  /** Milliseconds since 1970. */
  readonly now: number
  /** Of the new key, in milliseconds since 1970; that of the old one by default. */
  readonly expiresAt?: number | undefined
}

/**
 * Makes a key of the same consumer, scopes, grant and groups, and lets the old one end after a grace. What they may spend goes on where
 * it was: the consumer's budgets know no keys, and a budget of the key's own is counted by its family, which is passed on.
 *
 * The new key is written first, so there is never none that works. A key whose place another has taken is not rotated again; of two
 * rotations at once one succeeds, and the key of the other is taken back, unseen.
 *
 * @throws IssueKeyError where the key can't be rotated
 */
export async function reissueKey(
  store: ConsumerStore,
  old: KeyRecord,
  options: ReissueKeyOptions,
): Promise<ReissuedKey> {
  const { graceMs, now } = options
  refuseUnfit(old, now)
  const { publicId, consumer, scopes, grant, groups, expiresAt: ownEnd } = old
  const expiresAt = options.expiresAt ?? ownEnd
  const { key, record } = await addNewKey(store, {
    consumer,
    scopes,
    disabled: false,
    createdAt: now,
    family: familyOf(old),
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(grant === undefined ? {} : { grant }),
    ...(groups === undefined ? {} : { groups }),
  })
  let replaced: KeyRecord | undefined
  try {
    replaced = await store.replaceKey(publicId, { replacedBy: record.publicId, expiresAt: now + graceMs })
  } catch (error) {
    if (!isOutage(error)) throw error
    return { key, record, oldEndsAt: undefined }
  }
  // Revoked meanwhile: it has ended.
  if (replaced === undefined) return { key, record, oldEndsAt: now }
  const { replacedBy } = replaced
  if (replacedBy !== record.publicId) {
    await store.removeKey(record.publicId)
    throw replacedBefore(publicId, replacedBy)
  }
  return { key, record, oldEndsAt: replaced.expiresAt }
}

function refuseUnfit({ publicId, digest, disabled, expiresAt, replacedBy }: KeyRecord, now: number): void {
  if (replacedBy !== undefined) throw replacedBefore(publicId, replacedBy)
  if (digest === '') {
    throw new IssueKeyError(
      `What key ${publicId} may can't be read: another version wrote it. Rotate it by that version.`,
    )
  }
  if (disabled) throw new IssueKeyError(`Key ${publicId} is disabled. Enable it first, or make a new one.`)
  if (expiresAt !== undefined && expiresAt <= now) {
    throw new IssueKeyError(`Key ${publicId} has expired. Make a new one.`)
  }
}

function replacedBefore(publicId: string, replacedBy = 'another one'): IssueKeyError {
  return new IssueKeyError(`Key ${replacedBy} has taken the place of key ${publicId} already. Rotate that one.`)
}
