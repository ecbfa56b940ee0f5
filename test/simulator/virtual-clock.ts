import type { World } from './world.ts'

/**
 * Puts a world's time in the place of this process's own: what reads `Date.now` and `performance.now`, and waits by `setTimeout` and
 * `setInterval`, does so in simulated time from now on. `setImmediate` stays real, for the world runs by it.
 */
export function virtualClock(): { use(world: World): void } {
  let here: World | undefined
  const started = Date.now()
  const world = () => {
    if (here === undefined) throw new Error('There is no world yet')
    return here
  }

  /** As Node's timers are, as far as they are used: made once, refreshed, cleared. */
  class VirtualTimer {
    readonly #run: () => void
    readonly #ms: number
    #cancel: () => void
    constructor(run: () => void, ms: number) {
      this.#run = run
      this.#ms = ms
      this.#cancel = world().after(ms, run)
    }
    clear(): void {
      this.#cancel()
    }
    refresh(): this {
      this.#cancel()
      this.#cancel = world().after(this.#ms, this.#run)
      return this
    }
    ref(): this {
      return this
    }
    unref(): this {
      return this
    }
    hasRef(): boolean {
      return true
    }
  }

  const clear = (timer: unknown) => {
    if (timer instanceof VirtualTimer) timer.clear()
  }
  Object.assign(globalThis, {
    setTimeout: (run: (...given: unknown[]) => void, ms = 0, ...given: unknown[]) =>
      new VirtualTimer(() => run(...given), ms),
    setInterval: (run: (...given: unknown[]) => void, ms = 0, ...given: unknown[]) => {
      const timer: VirtualTimer = new VirtualTimer(() => {
        timer.refresh()
        run(...given)
      }, ms)
      return timer
    },
    clearTimeout: clear,
    clearInterval: clear,
  })
  Date.now = () => Math.floor(here?.now() ?? started)
  performance.now = () => (here?.now() ?? started) - started
  return {
    use(next) {
      here = next
    },
  }
}
