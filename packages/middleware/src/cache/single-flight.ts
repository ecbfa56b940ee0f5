import type { Answer, Reply } from '../operations/index.ts'
import type { Refusal, Time } from '../pipeline/index.ts'
import type { CacheRequest } from './cache-request.ts'
import { freshUntil } from './entry.ts'
import type { HeldClaim } from './held-claim.ts'
import type { LocalTier } from './local-tier.ts'
import type { SharedStream } from './shared-stream.ts'
import type { Found, SharedTier } from './shared-tier.ts'

/** What an in-flight call came to, for those who only waited for it. */
export type SharedOutcome =
  | { readonly kind: 'found'; readonly found: Found }
  /** `target`: the id of the one that answers; left out where nobody said. */
  | { readonly kind: 'answer'; readonly answer: Answer; readonly target?: string | undefined }
  | { readonly kind: 'stream'; readonly stream: SharedStream; readonly target?: string | undefined }
  /** The model's failure, which would be everybody's. */
  | { readonly kind: 'refused'; readonly refusal: Refusal; readonly fallible: boolean }
  /** What came is of no use to others: each asks for itself. */
  | { readonly kind: 'alone' }

/** What it came to for its leader. A streamed reply is still to be opened. */
export interface OwnOutcome {
  readonly kind: 'own'
  readonly reply: Reply
  readonly stream?: SharedStream
}

/** What came of asking the model. */
export interface Led {
  readonly own: OwnOutcome
  /** For all others; `undefined` where it concerns the leader alone (its budget is spent), and the next one leads. */
  readonly others: SharedOutcome | undefined
  /** Until then whoever comes is answered by this too. */
  readonly until?: Promise<unknown>
}

/** Asks the model. @param signal aborts when nobody waits for the answer any more */
export type Ask = (signal: AbortSignal) => Promise<Led>

/** One request's part in an in-flight call. */
export interface Subscription {
  /** @throws what asking threw, to the leader */
  readonly outcome: Promise<SharedOutcome | OwnOutcome>
  /** Whether this is the one who asks, or has asked. */
  leads(): boolean
  /**
   * Gives it up. When nobody is left, the call to the model ends.
   *
   * @returns whether this one's own call is what ends now: its reply will tell how.
   */
  leave(reason: unknown): boolean
}

/** Several requests for the same answer, of which one, the leader, asks the model. */
export interface InFlightCall {
  /** To be called before it is over, which `onOver` tells. */
  join(ask: Ask): Subscription
}

export interface InFlightCallOptions {
  /** Looks for an answer elsewhere, before anybody asks the model. Where it rejects, so does every subscription. */
  readonly find: (signal: AbortSignal) => Promise<Found | undefined>
  /** Called once, when nobody can join any more. */
  readonly onOver: () => void
  /** Milliseconds on a monotonic clock. */
  readonly now: () => number
}

/** For so long do those who wait lead in turn, in milliseconds: if each is turned away slowly, the last would wait for good. */
const IN_TURN_MS = 100

/** Made once: an abort without a reason makes an exception with a stack each time: 9 % of a streamed miss. */
const NOBODY_WAITS = new Error('Nobody waits for the answer any more')

interface Waiter {
  readonly ask: Ask
  readonly outcome: PromiseWithResolvers<SharedOutcome | OwnOutcome>
  waits: boolean
  /** What `leave` answered. */
  left?: boolean
}

/**
 * Begins with the first who joins. The call to the model belongs to all who have joined: it goes on when its leader has left,
 * and ends when all have. Where the answer concerns the leader alone, the next in the queue leads; where that takes long, all
 * ask.
 */
export function inFlightCall({ find, onOver, now }: InFlightCallOptions): InFlightCall {
  const joined = new Set<Waiter>()
  const givenUp = new AbortController()
  let shared: SharedOutcome | undefined
  let leader: Waiter | undefined
  let begun = false
  let over = false

  async function run(): Promise<void> {
    const found = await find(givenUp.signal)
    if (found !== undefined) return share({ kind: 'found', found })
    let inTurnUntil = Number.POSITIVE_INFINITY
    for (;;) {
      leader = firstWaiting()
      if (leader === undefined) return end()
      const led = await askBy(leader)
      if (led?.others !== undefined) return share(led.others, led.until)
      joined.delete(leader)
      if (inTurnUntil === Number.POSITIVE_INFINITY) inTurnUntil = now() + IN_TURN_MS
      if (now() > inTurnUntil) return share({ kind: 'alone' })
    }
  }

  function firstWaiting(): Waiter | undefined {
    for (const waiter of joined) if (waiter.waits) return waiter
    return undefined
  }

  async function askBy(waiter: Waiter): Promise<Led | undefined> {
    try {
      const led = await waiter.ask(givenUp.signal)
      waiter.outcome.resolve(led.own)
      return led
    } catch (fault) {
      waiter.outcome.reject(fault)
      return undefined
    } finally {
      waiter.waits = false
    }
  }

  async function share(outcome: SharedOutcome, until?: Promise<unknown>): Promise<void> {
    shared = outcome
    for (const waiter of joined) {
      if (waiter === leader) continue
      // A stream is still to be read; of all else there is nothing left to give up.
      if (outcome.kind !== 'stream') joined.delete(waiter)
      waiter.waits = false
      waiter.outcome.resolve(outcome)
    }
    // What is its leader's alone is read by nobody where that has left.
    if (outcome.kind === 'alone' && joined.size === 0) givenUp.abort(NOBODY_WAITS)
    if (until !== undefined) await until
    end()
  }

  /** A programming fault in the search or in here: nobody waits for an answer that can't come any more. */
  function crash(fault: unknown): void {
    for (const waiter of joined) waiter.outcome.reject(fault)
    joined.clear()
    end()
  }

  function end(): void {
    if (over) return
    over = true
    onOver()
  }

  function leave(waiter: Waiter, reason: unknown): boolean {
    if (!joined.delete(waiter)) return false
    waiter.waits = false
    if (joined.size > 0) return false
    end()
    givenUp.abort(reason ?? NOBODY_WAITS)
    return waiter === leader
  }

  return {
    join(ask) {
      if (over) throw new Error('This call is over')
      const outcome = Promise.withResolvers<SharedOutcome | OwnOutcome>()
      const waiter: Waiter = { ask, outcome, waits: shared === undefined }
      joined.add(waiter)
      // Whoever has left listens no more.
      outcome.promise.catch(() => {})
      if (shared !== undefined) outcome.resolve(shared)
      if (!begun) {
        begun = true
        run().catch(crash)
      }
      return {
        outcome: outcome.promise,
        leads: () => waiter === leader,
        leave(reason) {
          waiter.left ??= leave(waiter, reason)
          return waiter.left
        },
      }
    },
  }
}

/** An in-flight call, and the claim by which other instances wait for it. */
export interface ClaimedCall extends InFlightCall {
  readonly claim: () => HeldClaim | undefined
}

export interface SingleFlightOptions {
  readonly local: LocalTier
  readonly tier: SharedTier
  readonly time: Pick<Time, 'now' | 'wallClock'>
}

/** The in-flight calls of this process, one a key at most; and such as nobody else can join. */
export function singleFlight({ local, tier, time }: SingleFlightOptions) {
  /** Each in a place that is emptied: a map leaves old tables behind, which keep what stands in them until the collector finds them. */
  const inFlight = new Map<string, { call: ClaimedCall | undefined }>()
  const { now } = time

  function begin({ key, rule, seeks, call: wanted }: CacheRequest): ClaimedCall {
    let claim: HeldClaim | undefined
    const call = inFlightCall({
      now,
      async find(signal) {
        if (!seeks) return undefined
        const finding = await tier.find(key, wanted, signal)
        claim = finding.claim
        if (signal.aborted) claim?.release()
        const { found } = finding
        if (found === undefined || time.wallClock() >= freshUntil(found.entry, rule)) return undefined
        local.set(key, found.entry)
        return found
      },
      onOver() {
        const place = inFlight.get(key)
        if (place?.call === begun) {
          place.call = undefined
          inFlight.delete(key)
        }
        claim?.release()
      },
    })
    const begun: ClaimedCall = { join: call.join, claim: () => claim }
    return begun
  }

  return {
    /** The call that is in flight for a key, or a new one. */
    of(request: CacheRequest): ClaimedCall {
      const known = inFlight.get(request.key)?.call
      if (known !== undefined) return known
      const begun = begin(request)
      inFlight.set(request.key, { call: begun })
      return begun
    },
    /** One that nobody else can join, and for which nothing is looked up. */
    alone(): ClaimedCall {
      const { join } = inFlightCall({ now, find: async () => undefined, onOver: () => {} })
      return { join, claim: () => undefined }
    },
  }
}
