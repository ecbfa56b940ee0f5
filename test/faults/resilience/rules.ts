import { ALL_ATTEMPTS, deadlinesOf, type Outcome, type Seen } from './matrix.ts'
import { BILL, type Taken } from './played-target.ts'

/* What must hold of each cell, whichever way a request took. */

/** How long the answer of a busy machine may be late, in milliseconds. */
const LATE_MS = 1_500

/** What does not hold of this; in words that begin with the cell. */
export function violations(seen: Seen): string[] {
  const { fault, setting, streamed, kind } = seen.cell
  const place = `${fault.name}, ${streamed ? 'streamed' : 'plain'}, ${setting}, ${kind}`
  return [
    ...ofRequest(seen, seen.first).map((what) => `${place}: ${what}`),
    ...ofRequest(seen, seen.next).map((what) => `${place}, the next request: ${what}`),
    ...ofNext(seen).map((what) => `${place}: ${what}`),
  ]
}

function ofRequest({ cell, expected }: Seen, outcome: Outcome): string[] {
  const { status, code, answer, attempts, charged, stored, open, ms } = outcome
  const found: string[] = []
  const must = (holds: boolean, what: string) => {
    if (!holds) found.push(what)
  }
  const arrived = outcome.calls.flat()
  const made = attempts.reduce((sum, each) => sum + each, 0)
  must(made <= ALL_ATTEMPTS, `${made} attempts were made`)
  const resent = cell.fault.isKept ? arrived.filter((taken) => taken === 'nothing').length : 0
  must(arrived.length - resent <= made, `${arrived.length} calls arrived for ${made} attempts`)
  must(charged === chargeFor(outcome), `${charged} were charged for ${chargeFor(outcome)} (${arrived.join(', ')})`)
  must(stored === (answer === 'whole'), `a ${answer} answer is ${stored ? '' : 'not '}stored`)
  must(open === 0, `${open} calls go on that nobody waits for`)
  const { totalMs, streamTotalMs } = deadlinesOf(cell.fault)
  must(ms <= Math.max(totalMs, streamTotalMs) + LATE_MS, `it took ${Math.round(ms)} ms`)

  const isHelped =
    expected.means === 'answered' || (expected.means === 'failed' && cell.setting === 'three, the first sick')
  if (isHelped)
    must(status === 200 && answer === 'whole', `${status} (${code}), ${answer}, where one target could answer`)
  else if (expected.means !== 'broken') {
    must(answer === 'none' && REFUSALS.get(code ?? '')?.includes(status) === true, `${status} (${code}), ${answer}`)
    const { waitMs } = expected
    if (waitMs !== undefined) {
      const { retryAfterMs = 0 } = outcome
      must(retryAfterMs > waitMs - ms - LATE_MS && retryAfterMs <= waitMs, `it says to come back in ${retryAfterMs} ms`)
    }
  }
  if (expected.means === 'broken' || expected.means === 'spoilt') {
    must(made === 1, `${made} attempts were made, though an answer had begun`)
  }
  if (expected.means === 'broken') {
    must(status === 200 && answer === 'broken', `${status} (${code}), ${answer}, where a stream breaks off`)
    must(code !== undefined, 'a stream breaks off without a word')
  }
  return found
}

/** What may be said where nothing is answered. */
const REFUSALS: ReadonlyMap<string, readonly number[]> = new Map([
  ['upstream_failed', [502]],
  ['upstream_unavailable', [503]],
  ['rate_limit_exceeded', [429]],
])

/** A target that said when to come back is left alone until then. */
function ofNext({ expected, first, next }: Seen): string[] {
  if (expected.waitMs === undefined) return []
  return first.attempts.flatMap((made, index) => {
    const again = next.attempts[index] ?? 0
    const wasSick = first.calls[index]?.includes('nothing')
    return made > 0 && wasSick && again > 0 ? [`target ${index + 1} was asked again before its time`] : []
  })
}

/** What a limit on money must have counted, in nano-dollars. */
function chargeFor({ calls, reserved }: Outcome): number {
  const taken: Record<Taken, number> = { nothing: 0, told: BILL, untold: reserved }
  return calls.flat().reduce((sum, each) => sum + taken[each], 0)
}
