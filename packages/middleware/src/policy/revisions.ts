import { createHash, randomBytes } from 'node:crypto'
import { OperatorError } from '../pipeline/index.ts'
import type { EntityKey, Table } from '../storage/index.ts'

/*
 * The revisions of a policy, in a table. One row, the head, says which revision is in force, and which one is only judged. It is
 * changed by conditional writes alone, after all that it names was written: so a change is whole or not there, and of two that come at
 * once one is told that it lost. Each revision names the one before it; a row that the head doesn't lead to was never applied.
 */

/** One revision, without its text. */
export interface Revision {
  /** From 1 on, in the order in which they were applied. */
  readonly number: number
  /** SHA-256 of its text, in hexadecimal digits. */
  readonly digest: string
  /** Milliseconds since 1970, by the store's clock, to the second. */
  readonly at: number
  /** Who applied it, in plain words. */
  readonly by: string
  /** By which way it came. */
  readonly from: 'file' | 'cli' | 'api' | 'rollback'
  /** What it was read from, such as a file's name, or the revision that came back. */
  readonly source: string
  readonly message?: string | undefined
  /** It was applied to be judged alone. */
  readonly shadow?: true | undefined
}

/** A revision that is to be applied. */
export interface Proposal extends Pick<Revision, 'by' | 'from' | 'source' | 'message' | 'shadow'> {
  readonly text: string
}

/** A revision as the head names it. */
export interface KeptRevision {
  readonly revision: Revision
  /** Told apart from all others that ever were, also where a table was emptied meanwhile. */
  readonly id: string
  /** Where it is short enough to stand in the head. */
  readonly text: string | undefined
}

/** What is in force at one moment. */
export interface Head {
  /** `undefined` where none was applied yet. */
  readonly current: KeptRevision | undefined
  readonly shadow: KeptRevision | undefined
  /** The revision that was applied last, of either kind. */
  readonly last: number
  /** Milliseconds since 1970, by the store's clock, to the second. */
  readonly date: number
}

/** Another change came first. Nothing was changed. */
export class RevisionLost extends Error {
  override readonly name = 'RevisionLost'
  readonly head: Head
  constructor(head: Head) {
    super(`Revision ${head.last} was applied meanwhile`)
    this.head = head
  }
}

export interface PolicyRevisions {
  /** What is in force: one read. */
  look(signal?: AbortSignal): Promise<Head>
  /** @throws OperatorError where its text is missing or was damaged */
  textOf(
    kept: { readonly revision: Revision; readonly text?: string | undefined },
    signal?: AbortSignal,
  ): Promise<string>
  /** Whether a text of this digest was kept at any time, be it in force, judged, or lost to another: one read. */
  isKept(digest: string, signal?: AbortSignal): Promise<boolean>
  /** All that were applied, the newest first. */
  history(signal?: AbortSignal): Promise<readonly Revision[]>
  /** Those that were applied when the head was read, whatever has come since. */
  historyTo(head: Head, signal?: AbortSignal): Promise<readonly Revision[]>
  /**
   * Puts a text in force, or in the place of what is judged. What says the same already, to the byte, is given as it is.
   *
   * @param on what it was decided on: where another change came since, nothing is changed
   * @throws RevisionLost
   */
  apply(proposal: Proposal, on: Head, signal?: AbortSignal): Promise<Revision>
  /** Judges no second revision any more. @throws RevisionLost */
  endShadow(on: Head, signal?: AbortSignal): Promise<void>
  /** Notes, for operators, that an instance can't use a revision. */
  noteRefused(kept: KeptRevision, message: string, signal?: AbortSignal): Promise<void>
  /** What was noted of a revision. */
  refusalOf(kept: KeptRevision, signal?: AbortSignal): Promise<string | undefined>
}

export interface PolicyRevisionsOptions {
  /** `tollgatepolicy` */
  readonly table: Table
  /** Of the policy's file: each has revisions of its own. */
  readonly name: string
  /** Where the store tells no date: milliseconds since 1970. */
  readonly wallClock?: () => number
}

interface HeadRow {
  readonly last: number
  /** The row of the revision that was applied last. */
  readonly lastId: string
  /** A `Revision` as JSON. */
  readonly current?: string | undefined
  readonly currentId?: string | undefined
  readonly currentText?: Uint8Array | undefined
  readonly shadow?: string | undefined
  readonly shadowId?: string | undefined
  readonly shadowText?: Uint8Array | undefined
}

interface RevisionRow {
  readonly revision: string
  /** The row of the one before; empty for the first. */
  readonly before: string
}

/** Bytes of one field: the service's most are 65,536. */
const FIELD_BYTES = 60_000
/** Fields of one row: the most of it are 1 MiB, as JSON. */
const ROW_FIELDS = 12
const LONGEST_NOTE = 4_000

/** Of each head that was given: what its row holds, and the ETag that it had. */
const rows = new WeakMap<Head, { readonly etag: string | undefined; readonly row: HeadRow }>()

export function policyRevisions({ table, name, wallClock = Date.now }: PolicyRevisionsOptions): PolicyRevisions {
  const partitionKey = partitionOf(name)
  const key = (rowKey: string): EntityKey => ({ partitionKey, rowKey })

  async function look(signal?: AbortSignal): Promise<Head> {
    const { entity, date = Math.floor(wallClock() / 1_000) * 1_000 } = await table.read<HeadRow>(key('head'), {
      signal,
    })
    const row: HeadRow = entity === undefined ? NONE : headOf(entity)
    const head: Head = {
      current: keptOf(row.current, row.currentId, row.currentText),
      shadow: keptOf(row.shadow, row.shadowId, row.shadowText),
      last: row.last,
      date,
    }
    rows.set(head, { etag: entity?.etag, row })
    return head
  }

  /** Writes the head in the place of the one that was read. @throws RevisionLost */
  async function change(on: Head, to: HeadRow, signal: AbortSignal | undefined): Promise<void> {
    const { etag: before } = rows.get(on) ?? {}
    if (!rows.has(on)) throw new TypeError('The head is none that look() gave')
    let etag: string | undefined
    try {
      ;({ etag } = await table.put(
        { ...key('head'), ...to },
        before === undefined ? 'absent' : { etag: before },
        signal,
      ))
    } catch (error) {
      // The write may have been carried out, and its answer lost.
      const found = await look(signal).catch(() => undefined)
      if (found !== undefined && isSame(rows.get(found)?.row, to)) return
      throw error
    }
    if (etag === undefined) throw new RevisionLost(await look(signal))
  }

  async function writeText(text: string, digest: string, signal: AbortSignal | undefined): Promise<void> {
    const fields = piecesOf(Buffer.from(text), FIELD_BYTES)
    const parts = Math.max(1, Math.ceil(fields.length / ROW_FIELDS))
    for (let part = 0; part < parts; part += 1) {
      const own = fields
        .slice(part * ROW_FIELDS, (part + 1) * ROW_FIELDS)
        .map((bytes, n) => [`text${n}`, bytes] as const)
      // The same text has the same rows, whoever writes them.
      await table.put({ ...key(textKey(digest, part)), parts, ...Object.fromEntries(own) }, 'any', signal)
    }
  }

  async function historyTo(head: Head, signal?: AbortSignal): Promise<readonly Revision[]> {
    const { lastId } = rows.get(head)?.row ?? NONE
    const found = new Map<string, RevisionRow>()
    const range = { from: 'revision-', before: 'revision.' }
    for await (const row of table.scan<RevisionRow>({ partition: partitionKey, rows: range }, signal)) {
      found.set(row.rowKey, row)
    }
    const applied: Revision[] = []
    for (let row = found.get(lastId); row !== undefined; row = found.get(row.before)) {
      applied.push(JSON.parse(row.revision))
    }
    return applied
  }

  return {
    look,

    async textOf({ revision: { number, digest }, text: inHead }, signal) {
      let text = inHead
      if (text === undefined) {
        const pieces: Uint8Array[] = []
        for (let [part, parts] = [0, 1]; part < parts; part += 1) {
          const read = table.read<{ parts: number } & Readonly<Record<string, Uint8Array>>>
          const { entity } = await read(key(textKey(digest, part)), { signal })
          if (entity === undefined) break
          parts = entity.parts
          for (let n = 0; entity[`text${n}`] !== undefined; n += 1) pieces.push(entity[`text${n}`] as Uint8Array)
        }
        text = Buffer.concat(pieces).toString()
      }
      if (digestOf(text) === digest) return text
      throw new OperatorError(
        `The text of the policy's revision ${number} is missing in the table, or damaged. Apply it again.`,
      )
    },

    async isKept(digest, signal) {
      return (await table.read(key(textKey(digest, 0)), { signal })).entity !== undefined
    },

    history: async (signal) => historyTo(await look(signal), signal),
    historyTo,

    async apply({ text, ...told }, on, signal) {
      const before = rows.get(on)?.row ?? NONE
      const digest = digestOf(text)
      const standing = told.shadow ? on.shadow : on.current
      // What is in force can't be tried out beside itself.
      if (standing?.revision.digest === digest) return standing.revision
      const revision: Revision = { number: on.last + 1, digest, at: on.date, ...told }
      const id = `revision-${String(revision.number).padStart(10, '0')}-${randomBytes(4).toString('hex')}`
      const json = JSON.stringify(revision)
      await writeText(text, digest, signal)
      await table.put({ ...key(id), revision: json, before: before.lastId }, 'absent', signal)
      const bytes = Buffer.from(text)
      const inHead = bytes.byteLength <= FIELD_BYTES ? bytes : undefined
      const named = { last: revision.number, lastId: id }
      const kept = told.shadow
        ? { ...before, shadow: json, shadowId: id, shadowText: inHead }
        : { ...before, current: json, currentId: id, currentText: inHead }
      // What was judged and is put in force is judged no more.
      const isTried = !told.shadow && on.shadow?.revision.digest === digest
      await change(on, { ...(isTried ? withoutShadow(kept) : kept), ...named }, signal)
      return revision
    },

    async endShadow(on, signal) {
      const row = rows.get(on)?.row
      if (on.shadow !== undefined && row !== undefined) await change(on, withoutShadow(row), signal)
    },

    async noteRefused({ id, revision }, message, signal) {
      const note = { ...key(`refused-${id}`), number: revision.number, message: message.slice(0, LONGEST_NOTE) }
      await table.put(note, 'any', signal)
    },

    async refusalOf({ id }, signal) {
      return (await table.read<{ message: string }>(key(`refused-${id}`), { signal })).entity?.message
    },
  }
}

/** As people read it: `revision 7`. */
export function revisionText({ number }: Pick<Revision, 'number'>): string {
  return `revision ${number}`
}

/** As it is shown beside a file's. */
export function shortDigest({ digest }: Pick<Revision, 'digest'>): string {
  return digest.slice(0, 12)
}

export function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

const NONE: HeadRow = { last: 0, lastId: '' }

/** Without what the service adds. */
function headOf({ last, lastId, current, currentId, currentText, shadow, shadowId, shadowText }: HeadRow): HeadRow {
  return { last, lastId, current, currentId, currentText, shadow, shadowId, shadowText }
}

function keptOf(json: string | undefined, id: string | undefined, bytes: Uint8Array | undefined) {
  if (json === undefined || id === undefined) return undefined
  return { revision: JSON.parse(json) as Revision, id, text: bytes && Buffer.from(bytes).toString() }
}

function withoutShadow({ shadow: _revision, shadowId: _id, shadowText: _text, ...row }: HeadRow): HeadRow {
  return row
}

function isSame(a: HeadRow | undefined, b: HeadRow): boolean {
  return a !== undefined && a.lastId === b.lastId && a.currentId === b.currentId && a.shadowId === b.shadowId
}

/** A long text has several rows. */
function textKey(digest: string, part: number): string {
  return `text-${digest}-${part}`
}

function piecesOf(bytes: Buffer, size: number): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.byteLength / size) }, (_, n) => bytes.subarray(n * size, (n + 1) * size))
}

/** A key of the table takes neither slashes nor question marks; nor may it be longer than 512 characters. */
function partitionOf(name: string): string {
  const plain = name.replace(/[^\w.-]/g, (character) => `=${character.codePointAt(0)?.toString(16)};`)
  return plain.length <= 200 ? `policy ${plain}` : `policy ${digestOf(name)}`
}
