import type { Time } from '@tollgate/middleware'

/** A clock that a test moves, and whose timers fire as it does. */
export function handClock(start: number) {
  let now = start
  const timers = new Map<object, { at: number; ms: number; callback: () => void }>()
  const time: Time = {
    now: () => now - start,
    wallClock: () => now,
    after: (ms, callback) => add(ms, Number.POSITIVE_INFINITY, callback),
    every: (ms, callback) => add(ms, ms, callback),
  }
  function add(ms: number, again: number, callback: () => void) {
    const timer = {}
    timers.set(timer, { at: now + ms, ms: again, callback })
    return () => void timers.delete(timer)
  }
  return {
    time,
    pending: () => timers.size,
    pass(ms: number) {
      now += ms
      for (const [id, timer] of [...timers]) {
        if (timer.at > now) continue
        if (Number.isFinite(timer.ms)) timer.at += timer.ms
        else timers.delete(id)
        timer.callback()
      }
    },
  }
}
