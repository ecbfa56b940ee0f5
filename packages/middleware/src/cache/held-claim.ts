import { pause, type Time, withDeadline } from '../pipeline/index.ts'
import type { Claim } from './store.ts'
import type { StoreHealth } from './store-health.ts'

/** How long a claim holds that nobody renews, in milliseconds: so long do others wait for an instance that died. */
export const CLAIM_MS = 5_000
const RENEW_MS = 1_500
/** After so long a claim is renewed no more, in milliseconds: the stream of a client that stands still may never end. */
const MAX_HELD_MS = 300_000

/** A claim of this process, kept up until it is stored or given back. */
export interface HeldClaim extends Pick<Claim, 'store'> {
  /** Gives the key free, if it is still ours and nothing was stored. */
  release(): void
}

export interface HoldOptions {
  readonly health: Pick<StoreHealth, 'failed'>
  readonly time: Time
}

/** Renews a claim from now on. What fails of that is told to `health`, and to nobody else. */
export function holdClaim(claim: Claim, { health, time }: HoldOptions): HeldClaim {
  const heldUntil = time.now() + MAX_HELD_MS
  let settled = false
  // One call at a time: each needs to know what the one before it has written.
  let last: Promise<unknown> = Promise.resolve()

  const within = (work: (late: AbortSignal) => Promise<unknown>) => withDeadline(RENEW_MS, work, time)
  const stop = time.every(RENEW_MS, () => {
    if (time.now() >= heldUntil) return stop()
    const renew = () => within((late) => claim.renew(time.wallClock() + CLAIM_MS, late))
    last = last.then(renew).catch(health.failed)
  })
  const settle = () => {
    settled = true
    stop()
  }
  /** In the background, and once more after a while: others wait for as long as it stands. */
  function giveBack(): void {
    const release = () => within((late) => claim.release(late))
    const again = () => pause(RENEW_MS, time).then(release)
    last.then(release).catch(again).catch(health.failed)
  }

  return {
    async store(entry, late) {
      settle()
      await last
      let stored = false
      try {
        stored = await claim.store(entry, late)
        return stored
      } finally {
        if (!stored) giveBack()
      }
    },
    release() {
      if (settled) return
      settle()
      giveBack()
    },
  }
}
