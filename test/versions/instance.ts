/*
 * A limiter of some version over the counters in a table account, in a process of its own, told by messages what to do.
 * INDEX: the index.ts of its middleware. STORAGE: the account's connection string.
 */
import { pathToFileURL } from 'node:url'
import type * as Middleware from '@tollgate/middleware'
import type { Admission, Claim } from '@tollgate/middleware'

/** What the process is told; it answers each with a `Reply` of the same id. */
export type Order =
  | { readonly id: number; readonly kind: 'admit'; readonly claims: readonly Claim[] }
  | { readonly id: number; readonly kind: 'settle'; readonly admitted: number; readonly used: number }

export interface Reply {
  readonly id: number
  /** Of `admit`: whether it was admitted; `undefined` where the limiter was unavailable. */
  readonly admitted?: boolean | undefined
}

const { INDEX = '', STORAGE = '' } = process.env
const middleware: typeof Middleware = await import(pathToFileURL(INDEX).href)
const location = middleware.storageLocation({ TOLLGATE_STORAGE: STORAGE })
if (location === undefined || location.kind === 'memory') throw new Error('STORAGE is no table storage')
const store = middleware.tableCounterStore({ open: middleware.openTables(location), now: () => performance.now() })
const limiter = middleware.limiter({ store, deadlineMs: 20_000 })
const admissions = new Map<number, Admission>()

async function obey(order: Order): Promise<Reply> {
  const { id } = order
  if (order.kind === 'settle') {
    admissions.get(order.admitted)?.settle(() => order.used)
    return { id }
  }
  const decision = await limiter.admit(order.claims).catch(() => undefined)
  if (decision?.admitted) admissions.set(id, decision)
  return { id, admitted: decision?.admitted }
}

process.on('message', (order: Order) => void obey(order).then((reply) => process.send?.(reply)))
process.on('disconnect', () => process.exit())
process.send?.({ id: 0 } satisfies Reply)
