/*
 * One process that asks a limiter, as one instance of a gateway would: forked, and told what to do by `Order`s. Each has
 * a limiter of its own and a connection to the store of its own.
 */
import { setTimeout as sleep, setImmediate as yieldOnce } from 'node:timers/promises'
import { LimiterUnavailable } from '@tollgate/middleware'
import { quantile } from '../statistics.ts'
import { decisionLog, type Outcome } from './decision-log.ts'
import type { Gate } from './gates/gate.ts'
import { openGate } from './gates/open-gate.ts'
import { monotonic } from './monotonic.ts'
import type { Answer, Load, Order, Report } from './orders.ts'
import { arrivalTimes, type Stream, seeded } from './stream.ts'

/** After so many requests in a row the event loop gets its turn, however late the driver is. */
const BATCH = 32

let gate: Gate | undefined
let log: ReturnType<typeof decisionLog> | undefined
let told = false

process.on('message', (order: Order) => {
  if (order.kind === 'open') void open(order)
  else if (order.kind === 'load') void drive(order.load)
  else void answer(order)
})
process.on('disconnect', () => process.exit())

function say(report: Report): void {
  process.send?.(report)
}

async function open(order: Extract<Order, { kind: 'open' }>): Promise<void> {
  log = decisionLog(order.log)
  gate = await openGate(order.gate, order.address, {
    unitsLost: (subject, _limit, units) => say({ kind: 'lost', subject, units }),
    storeFailed: tell,
  })
  say({ kind: 'ready' })
}

function opened(): { readonly gate: Gate; readonly log: ReturnType<typeof decisionLog> } {
  if (gate === undefined || log === undefined) throw new Error('A driver must be opened first')
  return { gate, log }
}

async function answer({ id, subject, limit }: Extract<Order, { kind: 'ask' }>): Promise<void> {
  const called = monotonic()
  const answered: Answer = await opened()
    .gate.admit(subject, limit)
    .then(
      (verdict) => ({
        admitted: verdict.admitted,
        retryAfterMs: verdict.admitted ? 0 : verdict.retryAfterMs,
        called,
        resolved: monotonic(),
      }),
      (error) => ({ failed: String(error) }),
    )
  say({ kind: 'answer', id, answer: answered })
}

async function drive(load: Load): Promise<void> {
  const late: number[] = []
  const { gate, log } = opened()
  const first = load.streams[0]
  const noting =
    load.noteHeldMs > 0 && first !== undefined
      ? setInterval(noteHeld, load.noteHeldMs, subjectName(load, first, 0))
      : undefined

  function noteHeld(subject: string): void {
    const now = monotonic()
    log({ entry: 'held', called: now, resolved: now, stream: 0, subject: 0, value: gate.held(subject) })
  }

  await Promise.all(load.streams.map((stream, index) => driveStream(load, stream, index, late)))
  clearInterval(noting)
  const sorted = Float64Array.from(late).sort()
  say({ kind: 'done', lateMs: { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99) } })
}

function subjectName({ prefix }: Load, { name }: Stream, subject: number): string {
  return `${prefix}/${name}/${subject}`
}

async function driveStream(load: Load, stream: Stream, index: number, late: number[]): Promise<void> {
  const random = seeded(load.seed + 1000 * index + load.share.index)
  const names = Array.from({ length: stream.subjects }, (_, subject) => subjectName(load, stream, subject))
  const waiting = new Map<number, number>()
  const looking = new Set<number>()
  const asked = new Set<Promise<void>>()
  let batch = 0
  for (const at of arrivalTimes(stream.arrivals, load.share, random)) {
    if (at >= load.seconds * 1000) break
    const due = load.startAt + at
    for (let now = monotonic(); now < due; now = monotonic()) {
      batch = 0
      await sleep(due - now)
    }
    if (++batch % BATCH === 0) await yieldOnce()
    if (due >= load.steadyAt) late.push(monotonic() - due)
    const request = ask(Math.floor(random() * stream.subjects))
    asked.add(request)
    void request.finally(() => asked.delete(request))
  }
  await Promise.all(asked)

  async function ask(subject: number): Promise<void> {
    const { gate, log } = opened()
    const name = names[subject] ?? ''
    let outcome: Outcome = 'admitted'
    let value = 0
    waiting.set(subject, (waiting.get(subject) ?? 0) + 1)
    const called = monotonic()
    try {
      const verdict = await gate.admit(name, stream.limit)
      if (!verdict.admitted) {
        outcome = 'refused'
        value = verdict.retryAfterMs
      }
    } catch (error) {
      outcome = outcomeOf(error)
    }
    log({ entry: outcome, called, resolved: monotonic(), stream: index, subject, value })
    waiting.set(subject, (waiting.get(subject) ?? 0) - 1)
    if (outcome === 'refused' && load.inspect) await inspect(subject)
  }

  async function inspect(subject: number): Promise<void> {
    const { gate, log } = opened()
    if (gate.inspect === undefined || stream.limit.kind !== 'rate' || looking.has(subject)) return
    looking.add(subject)
    const called = monotonic()
    // What those are waiting for who came before is not there for this one.
    const before = waiting.get(subject) ?? 0
    try {
      const units = await gate.inspect(names[subject] ?? '', stream.limit)
      log({ entry: 'inspected', called, resolved: monotonic(), stream: index, subject, value: units - before })
    } finally {
      looking.delete(subject)
    }
  }
}

function outcomeOf(error: unknown): Outcome {
  if (error instanceof LimiterUnavailable && error.code !== 'row_failed') return error.code
  tell(error)
  return 'broken'
}

/** Once: the first fault says most. */
function tell(fault: unknown): void {
  if (!told) say({ kind: 'broken', message: String(fault) })
  told = true
}
