import { openSync, readFileSync, writeSync } from 'node:fs'

/** What came of a request. */
export type Outcome = 'refused' | 'admitted' | 'contention' | 'store_failed' | 'broken'

/** `held`: no request, but what the process held of its lease at that moment. `inspected`: units
 * that were there for a request when it was refused, see `Gate.inspect`. */
export type Entry = Outcome | 'held' | 'inspected'

const ENTRIES: readonly Entry[] = ['refused', 'admitted', 'contention', 'store_failed', 'broken', 'held', 'inspected']

/** One line of a process's log. Milliseconds on the clock of `monotonic`. */
export interface Decision {
  readonly entry: Entry
  readonly called: number
  readonly resolved: number
  /** The stream's index. */
  readonly stream: number
  /** Its number within the stream. */
  readonly subject: number
  /** Of a refusal, milliseconds until it may be tried again; of `held` and `inspected`, units. */
  readonly value: number
}

const FIELDS = 6
const RECORD_BYTES = FIELDS * 8

/**
 * Keeps every decision in a file at once, by a call that has left the process when it returns: a SIGKILL loses none that
 * was stamped before. About 2 µs each.
 */
export function decisionLog(file: string): (decision: Decision) => void {
  const target = openSync(file, 'a')
  const record = new Float64Array(FIELDS)
  const bytes = new Uint8Array(record.buffer)
  return ({ entry, called, resolved, stream, subject, value }) => {
    record[0] = ENTRIES.indexOf(entry)
    record[1] = called
    record[2] = resolved
    record[3] = stream
    record[4] = subject
    record[5] = value
    writeSync(target, bytes)
  }
}

export function readDecisions(file: string): Decision[] {
  const bytes = readFileSync(file)
  const decisions: Decision[] = []
  for (let at = 0; at + RECORD_BYTES <= bytes.byteLength; at += RECORD_BYTES) {
    const field = (index: number) => bytes.readDoubleLE(at + index * 8)
    decisions.push({
      entry: ENTRIES[field(0)] ?? 'broken',
      called: field(1),
      resolved: field(2),
      stream: field(3),
      subject: field(4),
      value: field(5),
    })
  }
  return decisions
}
