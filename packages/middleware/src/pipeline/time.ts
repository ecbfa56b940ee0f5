/** Time as a process knows it, passed in so that tests can hold it still and the simulator can run it ahead. */
export interface Time {
  /** Milliseconds on a monotonic clock, which may stand still while a virtual machine is suspended. */
  now(): number
  /** Milliseconds since 1970 by this machine's own clock, which may be set back and forth. */
  wallClock(): number
  /** Calls back once, after so many milliseconds. Returns what takes it back. */
  after(ms: number, callback: () => void): () => void
  /** Calls back again and again, and keeps no process alive for it. Returns what ends it. */
  every(ms: number, callback: () => void): () => void
}

export const systemTime: Time = {
  now: () => performance.now(),
  wallClock: () => Date.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, ms)
    return () => clearTimeout(timer)
  },
  every(ms, callback) {
    const timer = setInterval(callback, ms).unref()
    return () => clearInterval(timer)
  },
}

/** Resolves after so many milliseconds. */
export function pause(ms: number, { after }: Pick<Time, 'after'>): Promise<void> {
  return new Promise((resolve) => {
    after(ms, resolve)
  })
}
