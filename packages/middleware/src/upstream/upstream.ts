import { type Call, faultAfter, isUsualTier, type RefusedReply, type Reply, refused } from '../operations/index.ts'
import {
  type Attempt,
  type Handler,
  NOTHING_SPENT,
  pause,
  refusalOfEnded,
  systemTime,
  type Time,
  unlessEnded,
  upstreamUnavailable,
} from '../pipeline/index.ts'
import { type Balancer, first, type Picking, waitsOf } from './balancers/index.ts'
import type { Candidate, Candidates } from './candidates.ts'
import { insists, neverRetry, type RetriedModel, type RetryPolicy } from './retry.ts'
import { type Callable, type CallOptions, callTarget } from './target-call.ts'
import { cantBeAsked, translatable } from './translation.ts'

export interface UpstreamOptions extends CallOptions {
  /** The first candidate by default. */
  readonly balancer?: Balancer
  /** Never by default. */
  readonly retry?: RetryPolicy
  /** By which a request's calls are bounded together, and pauses before a retry pass. The machine's by default. */
  readonly time?: Pick<Time, 'now' | 'after'>
}

/**
 * The innermost: sends the routed body, under the target's own name for the model, and replies with the completion that came
 * back, byte for byte, or with a stream of its events if the call asks for one, in whichever of the two forms the service
 * sends it. Which of the candidates is asked, the balancer says; and whether another call is made after one that failed before a
 * byte of its answer, the retry policy: only within the deadline, and where what the calls before may have taken leaves enough
 * reserved for one more.
 *
 * Anything but a whole completion, or the beginning of a stream, is refused with 502 (`upstream_failed`), telling only what is
 * safe to tell, and with 503 (`upstream_unavailable`) where nothing may be asked; both say how long to wait, where that is known.
 * `attempts` says whether the model may have generated something nonetheless. A programming fault is thrown on, with its
 * attempts beside it. Where the gateway itself ends the request, it is answered as that says, and its call ends too.
 */
export function upstream(options: UpstreamOptions): Handler<Callable, Call, Reply> {
  const { balancer = first(), retry = neverRetry, time = systemTime } = options
  return async function upstream(call, context) {
    const { routed, reserved } = context
    const { model } = routed
    const { signal } = call
    const candidates = translatable(options.transport, call.operation, routed.body, placesOf(routed))
    if ('cannot' in candidates) {
      context.step('attempts', 'cannot')
      return { ...refused(cantBeAsked(model.name, candidates)), fallible: true }
    }
    const started = routed.startedAt ?? time.now()
    const sticky = stickyOf(routed)
    let attempts: readonly Attempt[] = NO_ATTEMPTS
    let failed: RefusedReply | undefined
    let covered = reserved.attempts
    retry.began?.(model)
    for (;;) {
      const picked = choosing(() => balancer.pick(candidates, picking(model, attempts, sticky)), attempts)
      if ('blockedForMs' in picked) {
        context.step('attempts', 'blocked')
        const refusal = upstreamUnavailable(picked.blockedForMs)
        return failed ?? { ...refused(refusal), attempts, shared: true, fallible: true }
      }
      const reply = await callTarget(call, context, {
        ...options,
        candidate: picked,
        candidates,
        before: attempts,
        balancer,
        sinceMs: attempts.length === 0 && routed.startedAt === undefined ? 0 : time.now() - started,
      })
      if (reply.kind !== 'refused' || !reply.fallible || signal.aborted) return reply
      failed = reply
      attempts = reply.attempts
      // One that took nothing leaves what was reserved for it.
      const left = {
        model,
        coveredAttempts: covered - attempts.filter(({ spend }) => spend !== NOTHING_SPENT).length,
        ms: options.totalMs - (time.now() - started),
      }
      const again = choosing(
        () => retry.next(attempts, { ...left, waits: waitsOf(balancer, candidates, attempts) }),
        attempts,
      )
      if (again === undefined) return reply
      if (again.afterMs > 0) await unlessEnded(pause(again.afterMs, time), signal)
      if (!signal.aborted && left.coveredAttempts <= 0 && reserved.cover !== undefined) {
        if (!(await covering(reserved.cover, attempts))) return signal.aborted ? endedReply(signal, attempts) : reply
        covered += 1
      }
      if (signal.aborted) return endedReply(signal, attempts)
      if (time.now() - started >= options.totalMs) return reply
    }
  }
}

const NO_ATTEMPTS: readonly Attempt[] = []

/** A tier that the caller names is a place of its own too: what has no room there says nothing of others. */
function placesOf({ candidates, body }: Callable['routed']): Candidates {
  const tier = body.json.service_tier
  if (typeof tier !== 'string' || isUsualTier(tier)) return candidates
  const [first, ...others] = candidates
  const at = (candidate: Candidate): Candidate => (candidate.tier === undefined ? { ...candidate, tier } : candidate)
  return [at(first), ...others.map(at)]
}

/** What a pick may go by; the conversation is told apart where the balancer asks for it. */
function picking(model: RetriedModel, attempts: readonly Attempt[], sticky: (() => string) | undefined): Picking {
  if (sticky === undefined && model.retry === undefined && attempts.length === 0) return FIRST_PICK
  return {
    attempts,
    insists: insists(model),
    get sticky() {
      return sticky?.()
    },
  }
}

const FIRST_PICK: Picking = { attempts: NO_ATTEMPTS, sticky: undefined }

/** Told apart once for all picks of a request, and only where there are several candidates. */
function stickyOf({ candidates, sticky }: Callable['routed']): (() => string) | undefined {
  if (candidates.length === 1 || sticky === undefined) return undefined
  let found: string | undefined
  return () => {
    found ??= sticky()
    return found
  }
}

/** The reply of a request that ended while another call was waited for. */
function endedReply(signal: AbortSignal, attempts: readonly Attempt[]): RefusedReply {
  return { ...refused(refusalOfEnded(signal)), attempts }
}

async function covering(cover: () => Promise<boolean>, attempts: readonly Attempt[]): Promise<boolean> {
  try {
    return await cover()
  } catch (fault) {
    throw faultAfter(fault, attempts)
  }
}

/** A fault in choosing what to ask costs no more than what was tried before. */
function choosing<T>(choose: () => T, attempts: readonly Attempt[]): T {
  try {
    return choose()
  } catch (fault) {
    throw faultAfter(fault, attempts)
  }
}
