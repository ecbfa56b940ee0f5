import type { Refusal } from '../../pipeline/index.ts'
import type { CacheEntry } from '../entry.ts'
import type { SharedStream } from './shared-stream.ts'

/** What a flight came to, for those who only followed. */
export type Landing =
  | { readonly kind: 'entry'; readonly entry: CacheEntry }
  | { readonly kind: 'whole'; readonly entry: CacheEntry }
  | { readonly kind: 'stream'; readonly stream: SharedStream }
  /** The model's failure, which would be everybody's. */
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  /** What came is of no use to others: each asks for itself. */
  | { readonly kind: 'alone' }

/** What came of asking the model. */
export interface Asked {
  /** For the one who asked. */
  readonly own: { readonly kind: 'asked'; readonly response: Response; readonly stream?: SharedStream }
  /** For all others; `undefined` where it concerns the one alone (its budget is spent), and the next one asks. */
  readonly others: Landing | undefined
  /** Until then whoever comes is answered by this too. */
  readonly until?: Promise<unknown>
}

export interface Seat {
  /** @throws what asking threw, to the one who asked */
  readonly landed: Promise<Landing | Asked['own']>
  /** Whether this is the one who asks, or has asked. */
  asks(): boolean
  /**
   * Gives the seat up. When nobody is left, the call to the model ends.
   *
   * @returns whether this one's own call is what ends now: its answer will tell how.
   */
  leave(reason: unknown): boolean
}

/** Several requests for the same answer, of which one asks the model. */
export interface Flight {
  /** To be called before it is over, which `onOver` tells. */
  join(ask: (signal: AbortSignal) => Promise<Asked>): Seat
}

export interface FlightOptions {
  /** Looks for an answer elsewhere, before anybody asks the model. Where it rejects, so does everybody's seat. */
  readonly find: (signal: AbortSignal) => Promise<CacheEntry | undefined>
  /** Called once, when nobody can join any more. */
  readonly onOver: () => void
  /** Milliseconds on a monotonic clock. */
  readonly now: () => number
}

/** For so long do those who wait ask in turn, in milliseconds: if each is turned away slowly, the last would wait for good. */
const IN_TURN_MS = 100

interface Passenger {
  readonly ask: (signal: AbortSignal) => Promise<Asked>
  readonly landed: PromiseWithResolvers<Landing | Asked['own']>
  waits: boolean
  /** What `leave` answered. */
  left?: boolean
}

/**
 * Begins with the first who joins. The call to the model belongs to all aboard: it goes on when the one who asked has left,
 * and ends when all have. Where the answer concerns the asker alone, the next in the queue asks; where that takes long, all.
 */
export function startFlight({ find, onOver, now }: FlightOptions): Flight {
  const aboard = new Set<Passenger>()
  const givenUp = new AbortController()
  let landing: Landing | undefined
  let asker: Passenger | undefined
  let begun = false
  let over = false

  async function fly(): Promise<void> {
    const entry = await find(givenUp.signal)
    if (entry !== undefined) return land({ kind: 'entry', entry })
    let inTurnUntil = Number.POSITIVE_INFINITY
    for (;;) {
      asker = firstWaiting()
      if (asker === undefined) return end()
      const asked = await askBy(asker)
      if (asked?.others !== undefined) return land(asked.others, asked.until)
      aboard.delete(asker)
      if (inTurnUntil === Number.POSITIVE_INFINITY) inTurnUntil = now() + IN_TURN_MS
      if (now() > inTurnUntil) return land({ kind: 'alone' })
    }
  }

  function firstWaiting(): Passenger | undefined {
    for (const passenger of aboard) if (passenger.waits) return passenger
    return undefined
  }

  async function askBy(passenger: Passenger): Promise<Asked | undefined> {
    try {
      const asked = await passenger.ask(givenUp.signal)
      passenger.landed.resolve(asked.own)
      return asked
    } catch (fault) {
      passenger.landed.reject(fault)
      return undefined
    } finally {
      passenger.waits = false
    }
  }

  async function land(on: Landing, until?: Promise<unknown>): Promise<void> {
    landing = on
    for (const passenger of aboard) {
      if (passenger === asker) continue
      // A stream is still to be read; of all else there is nothing left to give up.
      if (on.kind !== 'stream') aboard.delete(passenger)
      passenger.waits = false
      passenger.landed.resolve(on)
    }
    if (until !== undefined) await until
    end()
  }

  /** A programming fault in the flight itself: nobody waits for an answer that can't come any more. */
  function crash(fault: unknown): void {
    for (const passenger of aboard) passenger.landed.reject(fault)
    aboard.clear()
    end()
  }

  function end(): void {
    if (over) return
    over = true
    onOver()
  }

  function leave(passenger: Passenger, reason: unknown): boolean {
    if (!aboard.delete(passenger)) return false
    passenger.waits = false
    if (aboard.size > 0) return false
    end()
    givenUp.abort(reason)
    return passenger === asker
  }

  return {
    join(ask) {
      if (over) throw new Error('This flight is over')
      const landed = Promise.withResolvers<Landing | Asked['own']>()
      const passenger: Passenger = { ask, landed, waits: landing === undefined }
      aboard.add(passenger)
      // Whoever has left listens no more.
      landed.promise.catch(() => {})
      if (landing !== undefined) landed.resolve(landing)
      if (!begun) {
        begun = true
        fly().catch(crash)
      }
      return {
        landed: landed.promise,
        asks: () => passenger === asker,
        leave(reason) {
          passenger.left ??= leave(passenger, reason)
          return passenger.left
        },
      }
    },
  }
}
