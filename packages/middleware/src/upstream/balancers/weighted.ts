import { isUsualTier } from '../../operations/index.ts'
import {
  type Attempt,
  type CircuitBreaker,
  circuitBreaker,
  fnv1a,
  type Log,
  type TargetState,
  type Time,
} from '../../pipeline/index.ts'
import type { Balanced, Balancer, Waits } from './balancer.ts'
import { outcomeOf } from './outcome.ts'
import { rendezvous } from './rendezvous.ts'

export interface WeightedOptions {
  readonly time: Pick<Time, 'now' | 'wallClock'>
  /** From 0 to below 1. */
  readonly random: () => number
  /** Told when a target's breaker opens, and when it closes. */
  readonly log?: Log
}

/** So many failures one after the other open a target's breaker, as with Envoy's outlier detection. */
export const OPENS_AFTER = 5
/** How long an open target is left alone at first, and at most, in milliseconds: each time twice as long, of which half is chance. */
export const PAUSE_MS = { first: 2_000, most: 60_000 } as const
/** Longer than any call takes to begin its answer, in milliseconds. A guard alone: a probe's end is always told. */
const PROBE_MS = 300_000
/** What is told to wait for where a probe is under way, in milliseconds. */
const PROBED_MS = 1_000
/**
 * How long a busy target is left alone, in milliseconds: a second where its service says nothing. What one says beyond five
 * minutes is asked again then, since quotas are raised meanwhile.
 */
export const BLOCK_MS = { least: 100, untold: 1_000, most: 300_000 } as const
/** How long a target stands back behind all others that turns everything away, in milliseconds. */
export const STANDS_BACK_MS = 30_000
/** What is known of a target is forgotten when it was not asked for so long, in milliseconds: a policy may have dropped it. */
const FORGOTTEN_MS = 3_600_000

/** A time of leaving alone, by the monotonic clock. */
interface Block {
  readonly since: number
  readonly until: number
}

/** A target that has failed, or has no room. Those that are well have none. */
interface Trouble {
  readonly breaker: CircuitBreaker
  openedAt: number
  /** When its probe was let go; `undefined` where none is under way. */
  probedAt: number | undefined
  /** By service tier, as `placeOf` has them: what has no room at one says nothing of the others. */
  readonly blocks: Map<string | undefined, Block>
  /** While its service turns everything away, by a setting's fault. */
  standsBack: Block | undefined
  toldAt: number
}

/** Which of those that may be asked are asked first. */
const FINE = 0
const FAILED_BEFORE = 1
const STANDS_BACK = 2

/**
 * Picks of the lowest rank that has a target which may be asked: by a hash of the conversation, so that it stays on its target
 * without any memory of it and on all instances alike, else by chance; both by weight. A target that may not be asked loses its
 * own conversations alone, and they come back to it.
 *
 * May not be asked: what is busy, for as long as its service said, and what has failed again and again, but for one probe after
 * each pause. Asked last: where this request has failed before, and then what turns everything away by a setting's fault.
 */
export function weighted({ time, random, log }: WeightedOptions): Balancer {
  const troubles = new Map<string, Trouble>()

  function troubleOf(target: string, now: number): Trouble {
    const known = troubles.get(target)
    if (known !== undefined) return known
    for (const [other, { toldAt }] of troubles) if (now - toldAt > FORGOTTEN_MS) troubles.delete(other)
    const breaker = circuitBreaker({
      time,
      opensAfter: OPENS_AFTER,
      probeMs: PROBE_MS,
      pauseMs: (pauses) => Math.min(PAUSE_MS.most, PAUSE_MS.first * 2 ** pauses) * (0.5 + random() / 2),
      onRecovered({ failures, failedMs }) {
        if (failures >= OPENS_AFTER) log?.('info', 'target closed', { target, failures, ms: Math.round(failedMs) })
      },
    })
    const fresh = { breaker, openedAt: 0, probedAt: undefined, blocks: new Map(), standsBack: undefined, toldAt: now }
    troubles.set(target, fresh)
    return fresh
  }

  /** How long until it may be asked, in milliseconds. */
  function waitOf({ target, tier }: Balanced, now: number): number {
    const trouble = troubles.get(target.id)
    if (trouble === undefined) return 0
    const { until = now } = trouble.blocks.get(placeOf(tier, trouble.blocks)) ?? {}
    const pausedMs = trouble.probedAt === undefined ? trouble.breaker.waitMs() : probedMs(trouble.breaker)
    return Math.max(0, until - now, pausedMs)
  }
  function levelOf({ target: { id } }: Balanced, attempts: readonly Attempt[], now: number): number {
    const { standsBack } = troubles.get(id) ?? {}
    if (standsBack !== undefined && standsBack.until > now) return STANDS_BACK
    return hasFailedAt(id, attempts) ? FAILED_BEFORE : FINE
  }
  function claim({ target: { id } }: Balanced, now: number): void {
    const trouble = troubles.get(id)
    if (trouble?.breaker.isOpen() && trouble.breaker.allows()) trouble.probedAt = now
  }
  function close(target: string, trouble: Trouble, now: number): void {
    trouble.breaker.succeeded()
    trouble.probedAt = undefined
    trouble.standsBack = undefined
    forget(trouble.blocks, now)
    if (trouble.blocks.size === 0) troubles.delete(target)
  }
  function fail(target: string, trouble: Trouble, now: number): void {
    const wasOpen = trouble.breaker.isOpen()
    trouble.breaker.failed(undefined)
    if (wasOpen || !trouble.breaker.isOpen()) return
    trouble.openedAt = now
    log?.('warn', 'target open', { target, failures: OPENS_AFTER })
  }
  function block(trouble: Trouble, named: string | undefined, waitMs: number, now: number): void {
    if (trouble.blocks.size >= MOST_PLACES) forget(trouble.blocks, now)
    const tier = placeOf(named, trouble.blocks)
    const before = trouble.blocks.get(tier)
    const isOn = before !== undefined && before.until > now
    const until = now + Math.min(BLOCK_MS.most, Math.max(BLOCK_MS.least, waitMs))
    trouble.blocks.set(
      tier,
      isOn ? { since: before.since, until: Math.max(before.until, until) } : { since: now, until },
    )
  }

  return {
    pick(candidates, picking) {
      const [first] = candidates
      const { attempts } = picking
      const isCalm = troubles.size === 0 && attempts.length === 0
      if (isCalm && candidates.length === 1) return first
      const now = isCalm ? 0 : time.now()
      let best: typeof first | undefined
      let bestLevel = Number.POSITIVE_INFINITY
      /** Made when there is a second one to compare with. */
      let bestScore: number | undefined
      let least = first
      let leastMs = Number.POSITIVE_INFINITY
      /** Of the conversation; made with the first score. */
      let hash: number | undefined
      const scoreOf = ({ target }: Balanced) => {
        const { sticky } = picking
        if (sticky === undefined) return -Math.log(1 - random()) / target.weight
        hash ??= fnv1a(sticky)
        return rendezvous(hash, target) / target.weight
      }
      for (const candidate of candidates) {
        if (isCalm) {
          if (best !== undefined && candidate.rank > best.rank) break
        } else {
          const waitMs = waitOf(candidate, now)
          if (waitMs < leastMs) {
            least = candidate
            leastMs = waitMs
          }
          if (waitMs > 0) continue
        }
        const level = isCalm ? FINE : levelOf(candidate, attempts, now)
        if (best === undefined || level < bestLevel || (level === bestLevel && candidate.rank < best.rank)) {
          best = candidate
          bestLevel = level
          bestScore = undefined
        } else if (level === bestLevel && candidate.rank === best.rank) {
          bestScore ??= scoreOf(best)
          const score = scoreOf(candidate)
          if (score >= bestScore) continue
          best = candidate
          bestScore = score
        }
      }
      if (best === undefined) return picking.insists ? least : { blockedForMs: leastMs }
      if (!isCalm) claim(best, now)
      return best
    },

    waits(candidates, attempts) {
      const now = time.now()
      let elsewhereMs = Number.POSITIVE_INFINITY
      let anywhereMs = Number.POSITIVE_INFINITY
      for (const candidate of candidates) {
        const waitMs = waitOf(candidate, now)
        anywhereMs = Math.min(anywhereMs, waitMs)
        if (!hasFailedAt(candidate.target.id, attempts)) elsewhereMs = Math.min(elsewhereMs, waitMs)
      }
      return { elsewhereMs, anywhereMs } satisfies Waits
    },

    began({ target: { id } }) {
      const trouble = troubles.get(id)
      if (trouble?.probedAt !== undefined) close(id, trouble, time.now())
    },

    report({ target: { id }, tier }, attempt) {
      const outcome = outcomeOf(attempt)
      const isWell = outcome === 'answered' || outcome === 'untold' || outcome === 'oversized'
      if (isWell && troubles.size === 0) return
      const now = time.now()
      const trouble = isWell ? troubles.get(id) : troubleOf(id, now)
      if (trouble === undefined) return
      const { breaker, probedAt } = trouble
      trouble.toldAt = now
      if (outcome === 'busy') block(trouble, tier, attempt.failure?.retryAfterMs ?? BLOCK_MS.untold, now)
      if (outcome === 'misconfigured') trouble.standsBack = { since: now, until: now + STANDS_BACK_MS }
      if (!breaker.isOpen()) {
        if (outcome === 'answered') close(id, trouble, now)
        if (outcome === 'failing') fail(id, trouble, now)
        return
      }
      // What was sent before the probe says nothing of how it does now.
      if (probedAt === undefined || now - attempt.ms < probedAt) return
      trouble.probedAt = undefined
      if (outcome === 'answered') close(id, trouble, now)
      else if (outcome === 'failing') fail(id, trouble, now)
      else breaker.release()
    },

    states() {
      const now = time.now()
      const date = (at: number) => Math.round(time.wallClock() + at - now)
      const told: TargetState[] = []
      for (const [target, { breaker, openedAt, probedAt, blocks, standsBack }] of troubles) {
        const of = (state: TargetState['state'], { since, until }: Block): TargetState => ({
          target,
          state,
          since: date(since),
          until: date(until),
        })
        // One whose pause is over is asked by the next request, if there is one: its policy may have dropped it.
        const waitMs = probedAt === undefined ? breaker.waitMs() : probedMs(breaker)
        if (breaker.isOpen() && waitMs > 0) told.push(of('open', { since: openedAt, until: now + waitMs }))
        if (standsBack !== undefined && standsBack.until > now) told.push(of('blocked', standsBack))
        for (const [tier, each] of blocks) {
          if (each.until > now) told.push({ ...of('blocked', each), ...(tier === undefined ? {} : { tier }) })
        }
      }
      return told
    },
  }
}

/** Tiers of a target that are known to have no room, at most; services have a handful. */
const MOST_PLACES = 16
/** A tier's name, as services have them. What isn't one is not told of either. */
const TIER_NAME = /^[\w.-]{1,32}$/
/** All tiers beyond, which callers make up: a new name must open no way to a target that is busy, and be kept nowhere. */
const OTHER = 'other'

/** Of a tier. The usual one is the same place, whether it is asked for by a name of its or not. */
function placeOf(tier: string | undefined, known: Trouble['blocks']): string | undefined {
  if (tier === undefined || isUsualTier(tier)) return undefined
  if (!TIER_NAME.test(tier)) return OTHER
  return known.has(tier) || known.size < MOST_PLACES ? tier : OTHER
}

/** What is over. */
function forget(blocks: Trouble['blocks'], now: number): void {
  for (const [tier, { until }] of blocks) if (until <= now) blocks.delete(tier)
}

/** Whether this request has failed there. What was busy is blocked, and its other tiers may have room. */
function hasFailedAt(target: string, attempts: readonly Attempt[]): boolean {
  return attempts.some((attempt) => attempt.target === target && outcomeOf(attempt) !== 'busy')
}

function probedMs(breaker: CircuitBreaker): number {
  return Math.min(PROBED_MS, breaker.waitMs())
}
