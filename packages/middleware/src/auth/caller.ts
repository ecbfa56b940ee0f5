import type { Narrowing } from '../policy/index.ts'
import { type Consumer, familyOf, type KeyRecord } from './consumer.ts'

/**
 * Who calls, as all that follows goes by: limits, rights, cache and ledger. The same object for as long as one answer of the store, or one
 * verified token, is gone by: what is worked out for it may be remembered by it.
 */
export interface Caller {
  /** A key's consumer (`isConsumerId`); of a token `~issuer~…`, each part percent-encoded, which no key's consumer can be. */
  readonly id: string
  /** The policy's name of its plan; '' of a token whose roles give a scope for managing, and no plan. */
  readonly plan: string
  /** The groups that it is in, by their names in the policy: at most 3 (`MOST_GROUPS`). */
  readonly groups?: Readonly<Record<string, string>> | undefined
  /** The public id of the key that it came by; `undefined` of a token. */
  readonly key?: string | undefined
  /** What its key narrows; `undefined` of one that narrows nothing, and of a token. */
  readonly grant?: KeyGrant | undefined
}

/** What one key may, within what its consumer's plan allows: it only narrows. */
export interface KeyGrant extends Narrowing {
  /** What its budget is counted by (`familyOf`): it stays when another key takes this one's place. */
  readonly key: string
}

/** Who calls by a key. */
export function callerOfKey(record: KeyRecord, { id, plan }: Consumer): Caller {
  const { publicId: key, grant, groups } = record
  return { id, plan, groups, key, grant: grant && { ...grant, key: familyOf(record) } }
}
