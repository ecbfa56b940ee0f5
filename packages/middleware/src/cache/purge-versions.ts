import { type Log, systemTime, type Time, withDeadline } from '../pipeline/index.ts'
import type { GenerationStore } from './generation-store.ts'
import { storeHealth } from './store-health.ts'

export interface PurgeVersionsOptions {
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
export interface PurgeVersions {
  /**
   * The purge versions of these subjects, each with a dot after it; '' for one that was never purged. A plain string while the
   * copy is young, since every hit waits for it. `undefined` if it can't be told in time whether something was purged:
   * then nothing that is stored may be served, and nothing stored.
   */
  tag(subjects: readonly string[]): string | undefined | Promise<string | undefined>
  /** Starts a read where the next request would, and doesn't wait for it. */
  warm(): void
}

/** A list of purge versions as it was at some moment after the read was sent. */
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
/** No purge version has it in it: they are base64url. */
const SEPARATOR = '.'

/**
 * Keeps a copy of the purge versions, bounded in age: whatever the store does, none is given out `maxAgeMs` after
 * its subject was purged. A copy is as old as the sending of its read, so that a slow reply doesn't make it younger.
 */
export function purgeVersions(options: PurgeVersionsOptions): PurgeVersions {
  const { store, deadlineMs, refreshMs = 2_000, maxAgeMs = 4_000, time = systemTime, log } = options
  const health = storeHealth('cache generations', { time, log, opensAfter: 1, restsAfterFault: true })
  let copy: Copy | undefined
  let reading: Promise<void> | undefined

  /** By the clock that says more: one stands still while the machine is suspended, and the other can be set back. */
  function age(): number {
    if (copy === undefined) return Number.POSITIVE_INFINITY
    return Math.max(time.now() - copy.sent.now, time.wallClock() - copy.sent.wallClock)
  }

  /** One at a time. `undefined` where the last one failed just now. */
  function refresh(): Promise<void> | undefined {
    if (reading === undefined && health.allows()) {
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
      health.succeeded()
    } catch (error) {
      health.failed(error, sent.now)
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
