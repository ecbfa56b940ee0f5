import { randomUUID } from 'node:crypto'
import { openTables, type StorageLocation, statusOf, type Table, tableServiceUrl } from '@tollgate/middleware'
import { codeOf, fault, ok, type Seen, warn } from './finding.ts'

/* What the app may do in its tables, and whether the clocks agree. */

export type SharedLocation = Exclude<StorageLocation, { kind: 'memory' }>

const ROLE = 'Storage Table Data Contributor'

interface Step {
  /** What the app needs it for. */
  readonly right: string
  readonly run: (table: Table, signal: AbortSignal) => Promise<void>
}

/** A row of its own is read, written, written over if it is as it was read, and removed. */
export async function rightsSeen(location: SharedLocation, who: string, signal: AbortSignal): Promise<Seen> {
  const place = { partitionKey: 'doctor', rowKey: randomUUID() }
  let etag = ''
  const steps: readonly Step[] = [
    { right: 'read', run: async (table) => void (await table.read(place, { signal })) },
    {
      right: 'write',
      async run(table) {
        etag = (await table.put({ ...place, text: 'a' }, 'absent', signal)).etag ?? ''
      },
    },
    {
      right: 'write a row that is as it was read',
      async run(table) {
        const { etag: next } = await table.put({ ...place, text: 'b' }, { etag }, signal)
        const { etag: again } = await table.put({ ...place, text: 'c' }, { etag }, signal)
        if (next === undefined || again !== undefined) throw new Error('The service does not go by ETags')
      },
    },
    { right: 'remove', run: async (table) => void (await table.remove(place, 'any', signal)) },
  ]
  const table = openTables(location)('tollgatecounters')
  const done: string[] = []
  for (const { right, run } of steps) {
    try {
      await run(table, signal)
      done.push(right)
    } catch (error) {
      if (done.includes('write')) await table.remove(place, 'any', signal).catch(() => {})
      const before = done.length === 0 ? '' : `, though it may ${done.join(', ')}`
      return refusedSeen(error, `may not ${right}${before}`, location, who)
    }
  }
  return ok(`${who} may read, write, write conditionally and remove rows at ${tableServiceUrl(location).host}`)
}

function refusedSeen(error: unknown, what: string, location: SharedLocation, who: string): Seen {
  const { host } = tableServiceUrl(location)
  const [account = '<account>'] = host.split('.')
  const [code, status] = [codeOf(error), statusOf(error)]
  const saw = `${who} ${what} at ${host} (${code}${status === undefined ? '' : `, HTTP ${status}`})`
  const byKey = location.kind === 'connection-string'
  if (/AuthenticationError|CredentialUnavailable/.test((error as Error | undefined)?.name ?? '')) {
    return fault(saw, 'Sign in: az login. In Azure give the app an identity.')
  }
  if (status === 403 && code === 'AuthorizationPermissionMismatch') {
    const scope = `$(az storage account show -n ${account} --query id -o tsv)`
    return fault(saw, `az role assignment create --assignee <its object id> --role "${ROLE}" --scope ${scope}`)
  }
  const rules = `let this network in: az storage account network-rule add -n ${account} --ip-address <address>, or use a private endpoint`
  if (status === 403 && code === 'AuthorizationFailure' && !byKey) return fault(saw, `${rules}.`)
  if (status === 401 || status === 403) {
    return byKey
      ? fault(
          saw,
          `Copy the connection string anew: az storage account show-connection-string -n ${account}. A clock that is off by 15 min is refused so, too. Where the account has network rules, ${rules}.`,
        )
      : fault(
          saw,
          `az role assignment create --assignee <its object id> --role "${ROLE}" --scope <the storage account's id>`,
        )
  }
  if (status !== undefined) return fault(saw, `See the account's state: az storage account show -n ${account}`)
  return fault(
    saw,
    `See that TOLLGATE_STORAGE names the right account and that it can be reached from here: curl -I https://${host}`,
  )
}

const SLIGHT_MS = 2_000
const BREAKS_MS = 300_000
/** A `Date` header names the second only. */
const SECOND_MS = 1_000

/** By the date of an answer to anybody, so that it is known where the key is refused too. */
export async function clockSeen(location: SharedLocation, signal: AbortSignal): Promise<Seen> {
  const url = tableServiceUrl(location)
  const sent = Date.now()
  let date: number
  try {
    const answer = await fetch(url, { signal, redirect: 'manual' })
    await answer.body?.cancel()
    date = Date.parse(answer.headers.get('date') ?? '')
  } catch (error) {
    return warn(`not known, since ${url.host} does not answer (${codeOf(error)})`, 'See storage.')
  }
  const received = Date.now()
  if (Number.isNaN(date))
    return warn(
      `not known, since ${url.host} tells no time`,
      'Ask the service itself, by no proxy that drops its headers.',
    )
  const offMs = date + SECOND_MS / 2 - (sent + received) / 2
  const blurMs = SECOND_MS / 2 + (received - sent) / 2
  const saw = `this machine's clock is ${(Math.abs(offMs) / 1_000).toFixed(1)} s ${offMs > 0 ? 'behind' : 'ahead of'} the storage's (± ${(blurMs / 1_000).toFixed(1)} s)`
  const fix = 'Set it by the network: sudo timedatectl set-ntp true (Windows: w32tm /resync).'
  const surelyMs = Math.abs(offMs) - blurMs
  if (surelyMs > BREAKS_MS) return fault(`${saw}: signed requests are refused, and keys end at wrong times`, fix)
  if (surelyMs > SLIGHT_MS) return warn(`${saw}: limits go by the storage's, keys' ends and reports by this one`, fix)
  return ok(saw)
}
