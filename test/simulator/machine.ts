import type { Time } from '@tollgate/middleware'
import type { Random } from './random.ts'
import type { World } from './world.ts'

/**
 * A machine with clocks of its own: the monotonic one drifts, the wall clock is off by seconds and is set now and then.
 * It can stall (nothing runs, the clocks do), be suspended (the monotonic clock stands still too), and crash.
 */
export interface Machine {
  readonly time: Time
  crashed(): boolean
  crash(): void
  /** Nothing runs for so many milliseconds. */
  stall(ms: number, suspended: boolean): void
  setWallClock(byMs: number): void
  /** Runs it when the machine next can: at once, after a stall, or never. */
  deliver(run: () => void): void
}

const DRIFT = 1.5e-4

export function machine(world: World, random: Random): Machine {
  const rate = 1 + random.between(-DRIFT, DRIFT)
  const began = world.now()
  const offset = random.between(1_000, 1e7)
  let wallError = random.between(-3_000, 3_000)
  let slept = 0
  let stalledUntil = 0
  let suspendedFrom: number | undefined
  let crashed = false

  function awake(): number {
    const now = world.now()
    const sleeping = suspendedFrom === undefined ? 0 : Math.min(now, stalledUntil) - suspendedFrom
    return now - began - slept - sleeping
  }

  function deliver(run: () => void): void {
    if (crashed) return
    const wait = stalledUntil - world.now()
    if (wait > 0) world.after(wait, () => deliver(run))
    else run()
  }

  function after(ms: number, callback: () => void): () => void {
    let live = true
    world.after(ms / rate, () => deliver(() => live && callback()))
    return () => {
      live = false
    }
  }

  return {
    time: {
      now: () => offset + awake() * rate,
      wallClock: () => world.now() + wallError,
      after,
      every(ms, callback) {
        let live = true
        const tick = () => {
          if (!live) return
          callback()
          after(ms, tick)
        }
        after(ms, tick)
        return () => {
          live = false
        }
      },
    },
    crashed: () => crashed,
    crash() {
      crashed = true
    },
    stall(ms, suspended) {
      if (stalledUntil > world.now()) return
      stalledUntil = world.now() + ms
      if (!suspended) return
      suspendedFrom = world.now()
      world.after(ms, () => {
        slept += ms
        suspendedFrom = undefined
      })
    },
    setWallClock(byMs) {
      wallError += byMs
    },
    deliver,
  }
}
