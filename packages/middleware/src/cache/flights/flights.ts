import type { Time } from '../../pipeline/index.ts'
import type { HeldClaim } from '../claims/held-claim.ts'
import type { Search } from '../claims/search.ts'
import type { CacheEntry } from '../entry.ts'
import { freshUntil } from '../freshness.ts'
import type { NearCache } from '../near-cache.ts'
import type { Visit } from '../visit.ts'
import { type Flight, startFlight } from './flight.ts'

/** A flight, and the claim by which other instances wait for it. */
export interface Claimed extends Flight {
  readonly claim: () => HeldClaim | undefined
}

export interface FlightsOptions {
  readonly near: NearCache
  readonly search: Search
  readonly time: Pick<Time, 'now' | 'wallClock'>
}

/** The flights of this process, one a key at most; and such as nobody else can join. */
export function flights({ near, search, time }: FlightsOptions) {
  const shared = new Map<string, Claimed>()
  const { now } = time

  function begin({ key, rule, seeks, asStream }: Visit): Claimed {
    let claim: HeldClaim | undefined
    const flight = startFlight({
      now,
      async find(signal): Promise<CacheEntry | undefined> {
        if (!seeks) return undefined
        const found = await search.find(key, asStream, signal)
        claim = found.claim
        if (signal.aborted) claim?.release()
        if (found.entry === undefined || time.wallClock() >= freshUntil(found.entry, rule)) return undefined
        near.set(key, found.entry)
        return found.entry
      },
      onOver() {
        if (shared.get(key) === begun) shared.delete(key)
        claim?.release()
      },
    })
    const begun: Claimed = { ...flight, claim: () => claim }
    return begun
  }

  return {
    /** The flight that there is for a key, or a new one. */
    of(visit: Visit): Claimed {
      const known = shared.get(visit.key)
      if (known !== undefined) return known
      const begun = begin(visit)
      shared.set(visit.key, begun)
      return begun
    },
    alone(): Claimed {
      return { ...startFlight({ now, find: async () => undefined, onOver: () => {} }), claim: () => undefined }
    },
  }
}
