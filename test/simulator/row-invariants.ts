import type { Limit } from '@tollgate/middleware'

interface StoredAccount {
  readonly kind: string
  readonly level?: number
  readonly at?: number
  readonly periodMs?: number
  readonly granted?: number
  readonly lost?: number
  readonly epoch?: number
  readonly out: Readonly<Record<string, number>>
}

/** A string property of Table Storage holds 32 Ki UTF-16 code units. */
const MAX_ROW_LENGTH = 32 * 1024

export interface RowInspection {
  /** What does not hold of a version that is written. */
  inspect(subject: string, text: string): string[]
  /** The subject's row was lost. */
  lose(subject: string): void
}

/**
 * What must hold of every version of a row, however it came about: the units left and those leased never exceed the
 * limit, no count is negative, and time only goes forward. A row that was lost and rebuilt may have handed out more
 * than the limit; what it counts must still add up.
 */
export function inspectRow(limits: ReadonlyMap<string, readonly Limit[]>, now: () => number): RowInspection {
  let last = new Map<string, StoredAccount>()
  const lost = new Set<string>()
  function inspect(subject: string, text: string): string[] {
    const faults: string[] = []
    if (text.length > MAX_ROW_LENGTH) faults.push(`the row of ${subject} has ${text.length} characters`)
    const { accounts } = JSON.parse(text) as { accounts: Readonly<Record<string, StoredAccount>> }
    for (const limit of limits.get(subject) ?? []) {
      const account = accounts[limit.key]
      if (account === undefined) continue
      const before = last.get(`${subject} ${limit.key}`)
      last.set(`${subject} ${limit.key}`, account)
      const fault = faultOf(limit, account, before, now(), lost.has(subject))
      if (fault !== undefined) faults.push(`${subject} ${limit.name}: ${fault}`)
    }
    return faults
  }
  return {
    inspect,
    lose(subject) {
      lost.add(subject)
      last = new Map([...last].filter(([key]) => !key.startsWith(`${subject} `)))
    },
  }
}

function faultOf(
  limit: Limit,
  account: StoredAccount,
  before: StoredAccount | undefined,
  now: number,
  wasLost: boolean,
): string | undefined {
  const out = Object.values(account.out).reduce((sum, units) => sum + units, 0)
  const counts = [account.level ?? 0, account.granted ?? 0, account.lost ?? 0, ...Object.values(account.out)]
  if (counts.some((count) => count < 0 || !Number.isInteger(count)))
    return `a count is negative or broken: ${JSON.stringify(account)}`
  switch (limit.kind) {
    case 'rate': {
      const { level = 0, at = 0, periodMs = 1 } = account
      if (level > 0 && level + out * periodMs > limit.capacity * periodMs)
        return `holds ${level / periodMs} and leases ${out}`
      if (before?.at !== undefined && at < before.at) return 'its time went back'
      // Credited by the earliest that it may be; skipped up to the latest, which is 3 s ahead at the most.
      if (at > now + 4_000) return `its time is ${at - now} ms ahead`
      return undefined
    }
    case 'budget':
      if (!wasLost && (account.granted ?? 0) > limit.quota) return `handed out ${account.granted}`
      if (out + (account.lost ?? 0) > (account.granted ?? 0))
        return `leases more than it handed out: ${JSON.stringify(account)}`
      return before?.epoch !== undefined && (account.epoch ?? 0) < before.epoch ? 'its window went back' : undefined
    case 'concurrency':
      return !wasLost && out > limit.quota ? `leases ${out}` : undefined
  }
}
