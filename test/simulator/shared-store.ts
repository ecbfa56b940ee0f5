import type { CounterStore, StoreTime } from '@tollgate/middleware'
import type { Machine } from './machine.ts'
import type { Random } from './random.ts'
import type { World } from './world.ts'

/** How likely each fault of a call is. */
export interface Faults {
  readonly lostRequest: number
  readonly lostReply: number
  /** The caller is told of a failure, and the write lands up to 5 s later. */
  readonly late: number
  /** Refused though nothing had changed. */
  readonly refused: number
  readonly unavailable: number
  readonly slow: number
  /** Never answered: the caller's own deadline ends it. Writes may have been applied. */
  readonly hang: number
}

/** From how far back a row may be restored. */
const MOST_VERSIONS = 200

export const NO_FAULTS: Faults = {
  lostRequest: 0,
  lostReply: 0,
  late: 0,
  refused: 0,
  unavailable: 0,
  slow: 0,
  hang: 0,
}

interface Version {
  readonly text: string
  readonly etag: string
}

/** One store for all machines, as Table Storage is: its `Date` names the second only, and replies take 5 to 35 ms. */
export interface SharedStore {
  /** The store as one machine reaches it. */
  from(machine: Machine): CounterStore
  row(subject: string): Version | undefined
  setFaults(faults: Faults): void
  /** For so many milliseconds no reply reaches the machine. What it writes is applied with this probability. */
  cutOff(machine: Machine, ms: number, applied: number): void
  calls(): number
  /** Takes a subject's row away, or puts it back as it was at some earlier time. Whether there was one to lose. */
  lose(subject: string, how: 'removed' | 'restored'): boolean
}

/** A fault of the simulated store: any other error is a defect of the limiter. */
export class SimulatedFault extends Error {
  override readonly name = 'SimulatedFault'
}

export interface SharedStoreOptions {
  /** Told of each version that is written. */
  readonly onWrite: (subject: string, text: string) => void
  /** A mutant: writes whether or not the row has changed. */
  readonly unconditional?: boolean
}

export function sharedStore(world: World, random: Random, options: SharedStoreOptions): SharedStore {
  const rows = new Map<string, Version>()
  /** Of each row the versions that it had, the newest last. */
  const history = new Map<string, string[]>()
  const cutOff = new Map<Machine, { readonly until: number; readonly applied: number }>()
  let faults = NO_FAULTS
  let versions = 0
  let calls = 0

  function write(subject: string, text: string, etag: string | undefined): string | undefined {
    if (!options.unconditional && rows.get(subject)?.etag !== etag) return undefined
    versions += 1
    rows.set(subject, { text, etag: String(versions) })
    const texts = history.get(subject) ?? []
    texts.push(text)
    if (texts.length > MOST_VERSIONS) texts.shift()
    history.set(subject, texts)
    options.onWrite(subject, text)
    return String(versions)
  }

  const way = () => random.between(2, 17) + (random.chance(faults.slow) ? random.between(200, 2_500) : 0)

  function call<T>(machine: Machine, apply: (time: StoreTime) => T, refused?: (time: StoreTime) => T): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    const sent = machine.time.now()
    calls += 1
    const fail = (ms: number) => world.after(ms, () => machine.deliver(() => reject(new SimulatedFault('lost'))))
    const atStore = (then: (date: number) => void) =>
      world.after(way(), () => then(Math.floor(world.now() / 1_000) * 1_000))
    const timed = (date: number): StoreTime => ({ date, resolutionMs: 1_000, sent, received: machine.time.now() })

    const { lostRequest, lostReply, late, refused: refusal, unavailable, hang } = faults
    const cut = cutOff.get(machine)
    if (cut !== undefined && world.now() < cut.until) {
      if (random.chance(cut.applied)) atStore((date) => apply(timed(date)))
      fail(40)
    } else if (random.chance(lostRequest) || random.chance(unavailable)) fail(way())
    else if (random.chance(late)) {
      world.after(random.between(0, 5_000), () => apply(timed(0)))
      fail(way())
    } else if (random.chance(lostReply)) {
      atStore((date) => apply(timed(date)))
      fail(40)
    } else if (random.chance(hang)) {
      if (random.chance(0.5)) atStore((date) => apply(timed(date)))
    } else {
      const refusing = refused !== undefined && random.chance(refusal)
      atStore((date) => {
        // The store's answer is made here; the time of its arrival is the machine's own.
        const applied = refusing ? undefined : apply(timed(date))
        world.after(way(), () =>
          machine.deliver(() => {
            const time = timed(date)
            resolve(refusing && refused !== undefined ? refused(time) : { ...(applied as T & object), time })
          }),
        )
      })
    }
    return promise
  }

  return {
    from: (machine) => ({
      read: (subject) => call(machine, (time) => ({ row: rows.get(subject), time })),
      writeIfMatch: (subject, text, etag) =>
        call(
          machine,
          (time) => ({ etag: write(subject, text, etag), time }),
          (time) => ({ etag: undefined, time }),
        ),
    }),
    row: (subject) => rows.get(subject),
    setFaults(next) {
      faults = next
    },
    cutOff: (machine, ms, applied) => cutOff.set(machine, { until: world.now() + ms, applied }),
    calls: () => calls,
    lose(subject, how) {
      const texts = history.get(subject) ?? []
      if (!rows.has(subject)) return false
      if (how === 'removed') return rows.delete(subject)
      if (texts.length < 2) return false
      versions += 1
      rows.set(subject, { text: random.pick(texts.slice(0, -1)), etag: String(versions) })
      return true
    },
  }
}
