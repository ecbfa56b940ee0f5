import { randomBytes } from 'node:crypto'
import * as z from 'zod'
import { describeFault, isOutage, withDeadline } from '../pipeline/index.ts'
import type { EntityKey, Table } from '../storage/index.ts'
import { isUsageFault, whyQuery } from '../usage/index.ts'
import { fromQuery, type ManageAction, type Managed, manageAction } from './action.ts'
import { ManageFault } from './fault.ts'

/*
 * Who changed what: a row in the table `tollgateaudit` that stands there before the change takes effect, and is told afterwards what
 * came of it. One without an outcome is of a change that was cut off: nobody knows whether it was made.
 *
 * The keys of partitions (days) and rows (milliseconds) run backwards, so that the newest is read first.
 */

/** How long a row is kept, in milliseconds. */
export const AUDIT_LIFE_MS = 400 * 86_400_000

const WRITE_MS = 5_000
const DAY_MS = 86_400_000
/** Of days and of milliseconds since 1970, more than there will be. */
const LAST_DAY = 99_999
const LAST_MS = 9_999_999_999_999
/** Characters of one text of the input, and of all of it. */
const LONGEST_TEXT = 200
const LONGEST_INPUT = 8_000

interface AuditEntity {
  readonly actor: string
  readonly action: string
  readonly subject: string
  readonly input: string
  readonly requestId?: string
  readonly network?: string
  readonly outcome?: string
  readonly code?: string
  /** The store's time of the first write, once there was a second. */
  readonly writtenAt?: Date
}

/**
 * Carries a change out once it is written down, and then writes down what came of it.
 *
 * @throws ManageFault (503) where it can't be written down: then nothing was changed; what the change throws
 */
export async function audited<Output>(
  action: ManageAction,
  input: Readonly<Record<string, unknown>>,
  managed: Managed,
  change: () => Promise<Output>,
): Promise<Output> {
  const { actor, audit, log, origin, wallClock } = managed
  const key = keyAt(wallClock())
  const told = { actor, action: action.id, subject: subjectOf(action, input), ...origin }
  const writtenAt = await writeDown({ ...key, ...told, input: inputText(action, input) }, managed)
  log('warn', 'manage', { change: key.rowKey, ...told })

  async function settle(outcome: 'done' | 'refused' | 'failed', code?: string): Promise<void> {
    log(outcome === 'failed' ? 'error' : 'info', 'managed', { change: key.rowKey, outcome, code })
    const end = { ...key, outcome, code, writtenAt: writtenAt === undefined ? undefined : new Date(writtenAt) }
    // The change stands as it is, whatever becomes of this.
    await withDeadline(WRITE_MS, (late) => audit.merge(end, late)).catch((error) =>
      log('error', 'outcome not written', describeFault(error)),
    )
  }

  let output: Output
  try {
    output = await change()
  } catch (error) {
    const isRefused = error instanceof ManageFault
    await settle(isRefused ? 'refused' : 'failed', isRefused ? error.code : undefined)
    throw error
  }
  await settle('done')
  return output
}

/** @returns the store's time, in milliseconds since 1970, where it told it */
async function writeDown(row: EntityKey & AuditEntity, { audit, signal, log }: Managed): Promise<number | undefined> {
  try {
    const { etag, date } = await withDeadline(WRITE_MS, (late) =>
      audit.put({ ...row }, 'absent', AbortSignal.any([late, signal])),
    )
    if (etag === undefined) throw new Error('Two rows of tollgateaudit have one key')
    return date
  } catch (error) {
    if (!isOutage(error)) throw error
    log('error', 'audit not written', describeFault(error))
    throw new ManageFault(
      'Nothing was changed: what changes is written to tollgateaudit first, and that failed. Try again.',
      {
        code: 'store_unavailable',
        status: 503,
      },
    )
  }
}

function keyAt(at: number): EntityKey {
  return {
    partitionKey: partitionAt(at),
    rowKey: `${String(LAST_MS - at).padStart(13, '0')}-${randomBytes(6).toString('hex')}`,
  }
}

function partitionAt(at: number): string {
  return String(LAST_DAY - Math.floor(at / DAY_MS)).padStart(5, '0')
}

/** What is changed: the action's path with its fields filled in. */
function subjectOf({ path }: ManageAction, input: Readonly<Record<string, unknown>>): string {
  return path.replace(/\{(\w+)\}/g, (_, field: string) => String(input[field]))
}

/** As JSON, bounded. */
function inputText({ secrets = [] }: ManageAction, input: Readonly<Record<string, unknown>>): string {
  const text = JSON.stringify(input, (name, value) => {
    if (secrets.includes(name)) return '(left out)'
    if (typeof value !== 'string') return value
    const safe = value.replace(KEYS, 'tg_…')
    return safe.length > LONGEST_TEXT ? `${safe.slice(0, LONGEST_TEXT)}… (${value.length} characters)` : safe
  })
  return text.length > LONGEST_INPUT ? JSON.stringify(`${text.slice(0, LONGEST_INPUT)}…`) : text
}

const KEYS = /tg_[0-9A-Za-z_]{8,}/g

const entry = z.strictObject({
  change: z.string().describe('Its id, which the log lines name too.'),
  at: z.string().describe("When it was written down, by the table's clock: ISO 8601 in UTC."),
  actor: z.string().describe('Who: `key <id> (<consumer>)`, `token <consumer>` or the user of a command line.'),
  action: z.string(),
  subject: z.string().describe('The path that was changed.'),
  input: z.unknown().describe('What was asked for, without secrets; long texts are shortened.'),
  outcome: z
    .enum(['done', 'refused', 'failed', 'unknown'])
    .describe('`unknown`: it was written down and then cut off, or is under way. `failed`: it may be done in part.'),
  code: z.string().optional().describe('Why it was refused.'),
  requestId: z.string().optional(),
  network: z.string().optional().describe("The client's: an IPv4 address, or the first half of an IPv6 address."),
})

const CURSOR = /^(\d{5})-(\d{13}-[0-9a-f]{12})$/

export const listAudit = manageAction({
  id: 'listAudit',
  summary: 'Who changed what, the newest first.',
  method: 'GET',
  path: '/audit',
  refuses: [],
  input: z.strictObject({
    since: z
      .string()
      .max(40)
      .optional()
      .describe('A span back such as 7d, or a date in UTC; all that is kept by default.'),
    until: z.string().max(40).optional().describe('The same; now by default.'),
    limit: fromQuery(z.int().min(1).max(1_000)).optional().describe('The most that are listed (100).'),
    cursor: z.string().regex(CURSOR, "must be the 'next' of an answer before").optional(),
  }),
  output: z.strictObject({
    changes: z.array(entry),
    next: z.string().optional().describe('The cursor of those that follow; left out where none do.'),
  }),
  async run({ since, until, limit = 100, cursor }, { audit, wallClock, signal }) {
    const now = wallClock()
    const span = whyQuery({ since: since ?? '400d', until }, now)
    if (isUsageFault(span)) {
      throw new ManageFault(`'${span.parameter}' ${span.rule}.`, {
        code: 'invalid_request',
        status: 400,
        field: span.parameter,
      })
    }
    const changes: z.infer<typeof entry>[] = []
    let last = ''
    for await (const row of rowsBack(audit, { ...span, cursor }, signal)) {
      if (changes.length === limit) return { changes, next: last }
      const { partitionKey, rowKey, actor, action, subject, input, outcome, code, requestId, network } = row
      last = `${partitionKey}-${rowKey}`
      changes.push({
        change: rowKey,
        at: new Date(row.writtenAt ?? row.timestamp).toISOString(),
        actor: String(actor),
        action: String(action),
        subject: String(subject),
        input: parsed(input),
        outcome: outcomeOf(outcome),
        ...(code !== undefined && { code }),
        ...(requestId !== undefined && { requestId }),
        ...(network !== undefined && { network }),
      })
    }
    return { changes }
  },
})

interface Back {
  readonly since: number
  readonly until: number
  readonly cursor?: string | undefined
}

/** By the clock of who wrote them. */
async function* rowsBack(audit: Table, { since, until, cursor }: Back, signal: AbortSignal) {
  const [, day, row] = CURSOR.exec(cursor ?? '') ?? []
  const before = `${LAST_MS - since}`.padStart(13, '0')
  const newest = `${LAST_MS - until}`.padStart(13, '0')
  const from = row !== undefined && row > newest ? `${row}!` : newest
  const partition = { from: day ?? partitionAt(until), before: `${partitionAt(since)}!` }
  yield* audit.scan<AuditEntity & { readonly timestamp: string }>({ partition, rows: { from, before } }, signal)
}

function outcomeOf(text: unknown): z.infer<typeof entry>['outcome'] {
  return text === 'done' || text === 'refused' || text === 'failed' ? text : 'unknown'
}

function parsed(text: unknown): unknown {
  try {
    return JSON.parse(String(text))
  } catch {
    return null
  }
}

/** Rows that a batch can remove, and that one run removes at most. */
const BATCH = 100
const MOST = 20_000

/** Removes what is kept no longer. @returns how many rows */
export async function sweepAudit(audit: Table, now: number, signal: AbortSignal): Promise<number> {
  const old = { from: partitionAt(now - AUDIT_LIFE_MS - DAY_MS), before: '~' }
  let removed = 0
  let batch: EntityKey[] = []
  async function remove(): Promise<void> {
    for (const key of batch) if (await audit.remove(key, 'any', signal)) removed += 1
    batch = []
  }
  for await (const { partitionKey, rowKey } of audit.scan({ partition: old, select: ['action'] }, signal)) {
    batch.push({ partitionKey, rowKey })
    if (batch.length === BATCH) await remove()
    if (removed >= MOST) return removed
  }
  await remove()
  return removed
}
