import type { Log, Time } from '../pipeline/index.ts'
import type { CacheRule } from '../policy/index.ts'
import type { CacheEntry } from './entry.ts'
import { type Flight, startFlight } from './flight.ts'
import { freshUntil } from './freshness.ts'
import type { NearCache } from './near-cache.ts'
import type { HeldClaim, Search } from './search.ts'
import type { Visit } from './visit.ts'

/** A flight, and the claim by which other instances wait for it. */
export interface Claimed extends Flight {
  readonly claim: () => HeldClaim | undefined
}

export interface FlightsOptions {
  readonly near: NearCache
  readonly search: Search
  readonly time: Pick<Time, 'wallClock'>
}

/** The flights of this process, one a key at most; and such as nobody else can join. */
export function flights({ near, search, time }: FlightsOptions) {
  const shared = new Map<string, Claimed>()

  async function find(key: string, rule: CacheRule, signal: AbortSignal, log: Log) {
    const { entry, claim } = await search(key, signal, log)
    if (entry === undefined || time.wallClock() >= freshUntil(entry, rule)) return { entry: undefined, claim }
    near.set(key, entry)
    return { entry, claim }
  }

  function begin({ key, rule, seeks, context }: Visit): Claimed {
    let claim: HeldClaim | undefined
    const flight = startFlight({
      async find(signal): Promise<CacheEntry | undefined> {
        if (!seeks) return undefined
        const found = await find(key, rule, signal, context.log)
        claim = found.claim
        if (signal.aborted) claim?.release()
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
      return { ...startFlight({ find: async () => undefined, onOver: () => {} }), claim: () => undefined }
    },
  }
}
