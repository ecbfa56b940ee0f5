import { describeFault, isOutage, type Log, systemTime, type Time, withDeadline } from '../../pipeline/index.ts'
import { faultLog } from '../fault-log.ts'
import type { GenerationStore } from './generation-store.ts'

export interface GenerationsOptions {
  readonly store: Pick<GenerationStore, 'list'>
  /** How long `tag` waits where it must read first, in milliseconds. */
  readonly deadlineMs: number
  /** From this age on a copy is read anew while it is still used, in milliseconds; 2,000 by default. */
  readonly refreshMs?: number
  /** From this age on a copy is not used any more, in milliseconds; 4,000 by default. So late may a purge take effect. */
  readonly maxAgeMs?: number
  readonly time?: Pick<Time, 'now' | 'wallClock' | 'after'>
  /** Told when the store begins to fail, and when it works again; not of each failure. */
  readonly log?: Log
}

/** What this instance knows of purges. */
export interface Generations {
  /**
   * The generations of these subjects, each with a dot after it; '' for one that was never purged. A plain string while the
   * copy is young, since every hit waits for it. `undefined` if it can't be told in time whether something was purged:
   * then nothing that is stored may be served, and nothing stored.
   */
  tag(subjects: readonly string[]): string | undefined | Promise<string | undefined>
  /** Starts a read where the next request would, and doesn't wait for it. */
  warm(): void
}

/** A list of generations as it was at some moment after the read was sent. */
interface Copy {
  readonly list: ReadonlyMap<string, string>
  readonly sent: Moment
}

interface Moment {
  readonly now: number
  readonly wallClock: number
}

/** How long a read may take, in milliseconds. Those who wait for it give up before. */
const READ_TIMEOUT_MS = 2_000
/** The shortest time from one read to the next while they fail, in milliseconds. */
const RETRY_MS = 200
/** No generation has it in it: they are base64url. */
const SEPARATOR = '.'

/**
 * Keeps a copy of the generations, bounded in age: whatever the store does, no generation is given out `maxAgeMs` after
 * its subject was purged. A copy is as old as the sending of its read, so that a slow reply doesn't make it younger.
 */
export function generations(options: GenerationsOptions): Generations {
  const { store, deadlineMs, refreshMs = 2_000, maxAgeMs = 4_000, time = systemTime, log } = options
  const tellFault = faultLog('cache generations', { time, log })
  let copy: Copy | undefined
  let reading: Promise<void> | undefined
  let retryAt = Number.NEGATIVE_INFINITY
  let failing: { readonly since: number; failures: number } | undefined

  /** By the clock that says more: one stands still while the machine is suspended, and the other can be set back. */
  function age(): number {
    if (copy === undefined) return Number.POSITIVE_INFINITY
    return Math.max(time.now() - copy.sent.now, time.wallClock() - copy.sent.wallClock)
  }

  /** One at a time. `undefined` where the last one failed just now. */
  function refresh(): Promise<void> | undefined {
    if (reading === undefined && time.now() >= retryAt) {
      reading = read().finally(() => {
        reading = undefined
      })
    }
    return reading
  }

  async function read(): Promise<void> {
    const sent = { now: time.now(), wallClock: time.wallClock() }
    try {
      const list = await withDeadline(READ_TIMEOUT_MS, (signal) => store.list(signal), time)
      copy = { list, sent }
      if (failing !== undefined) {
        const failedMs = Math.round(time.now() - failing.since)
        log?.('warn', 'cache generations recovered', { failedMs, failures: failing.failures })
      }
      failing = undefined
    } catch (error) {
      retryAt = sent.now + RETRY_MS
      if (!isOutage(error)) return tellFault(error)
      if (failing === undefined) log?.('warn', 'cache generations failed', describeFault(error))
      failing ??= { since: sent.now, failures: 0 }
      failing.failures += 1
    }
  }

  function tagOf(subjects: readonly string[], { list }: Copy): string {
    let tag = ''
    for (const subject of subjects) tag += `${list.get(subject) ?? ''}${SEPARATOR}`
    return tag
  }

  async function after(refreshed: Promise<void>, subjects: readonly string[]): Promise<string | undefined> {
    // At the deadline the read goes on, for those who come later.
    await withDeadline(deadlineMs, () => refreshed, time).catch(() => {})
    return copy !== undefined && age() < maxAgeMs ? tagOf(subjects, copy) : undefined
  }

  return {
    tag(subjects) {
      const old = age()
      const refreshed = old < refreshMs ? undefined : refresh()
      if (copy !== undefined && old < maxAgeMs) return tagOf(subjects, copy)
      return refreshed && after(refreshed, subjects)
    },
    warm() {
      if (age() >= refreshMs) void refresh()
    },
  }
}
