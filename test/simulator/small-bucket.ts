import type { CounterStore, Decision, RateLimit, Subject } from '@tollgate/middleware'
import { audit } from './audit.ts'
import { type Versions, versionOf } from './limits-under-test.ts'
import { type Machine, machine } from './machine.ts'
import { random } from './random.ts'
import { sharedStore } from './shared-store.ts'
import { world } from './world.ts'

/** `{requests: 1000, per: 1s, strict: true}`: a bucket far smaller than a second's refill. */
const LIMIT: RateLimit = {
  kind: 'rate',
  key: 'requests:1000',
  name: 'requests',
  measure: 'requests',
  model: undefined,
  quota: 1_000,
  burst: 0,
  capacity: 100,
  refill: 900,
  periodMs: 1_000,
}

/** Bursts that such a bucket has room for. */
export interface SmallBucketLoad {
  readonly instances: number
  /** A table, 5 to 35 ms away, whose clock shows whole seconds; or this process's memory. */
  readonly store: 'table' | 'memory'
  readonly burst: number
  /** From one burst to the next. */
  readonly gapMs: readonly [least: number, most: number]
}

export const SMALL_BUCKET_LOADS: readonly SmallBucketLoad[] = [
  { instances: 1, store: 'table', burst: 20, gapMs: [100, 300] },
  { instances: 1, store: 'memory', burst: 20, gapMs: [100, 300] },
  { instances: 1, store: 'memory', burst: 20, gapMs: [25, 60] },
]

export interface SmallBucketOutcome {
  readonly admitted: number
  /** Requests that were refused though the bucket had room for them, and those that were told to try again. */
  readonly refused: number
  readonly unavailable: number
  /** By how many units the promise was broken. */
  readonly excess: number
  /** How long the requests that were admitted waited, in milliseconds; the shortest wait first. */
  readonly waits: readonly number[]
}

const LOAD_MS = 20_000
/** Longer than any request waits. */
const AFTER_MS = 3_000

/**
 * Bursts of requests at a small bucket which always has room for them, by a clock that knows the true time. A single
 * instance knows of every request, so it must admit them all.
 */
export async function smallBucket(
  versions: Versions,
  { instances, store, burst, gapMs }: SmallBucketLoad,
  seed: number,
): Promise<SmallBucketOutcome> {
  const here = world(Date.UTC(2026, 0, 10))
  const dice = random(seed)
  const table = sharedStore(here, dice, { onWrite: () => {} })
  // Loaded here: a defect is planted before.
  const { memoryCounterStore } = await import('@tollgate/middleware')
  const memory = memoryCounterStore({ wallClock: here.now, now: here.now })
  const storeOf = (its: Machine): CounterStore => (store === 'table' ? table.from(its) : timed(memory, its))
  const subject: Subject = { id: 'global', limits: [LIMIT] }
  const audited = audit(LIMIT, () => 0)
  const gates = Array.from({ length: instances }, (_, index) => {
    const its = machine(here, dice)
    const { limiter } = versionOf(versions, index)
    return limiter({ store: storeOf(its), deadlineMs: 2_000, time: its.time, random: dice.next })
  })
  const waits: number[] = []
  let [refused, unavailable] = [0, 0]

  function ask(index: number): void {
    const asked = here.now()
    const admission = gates[index % instances]?.admit([{ subject, limit: LIMIT, units: 1 }])
    admission?.then(
      ({ admitted }: Decision) => {
        if (!admitted) {
          refused += 1
          return
        }
        audited.spend(1, here.now())
        waits.push(here.now() - asked)
      },
      () => {
        unavailable += 1
      },
    )
  }

  const end = here.now() + LOAD_MS
  for (let bursts = 0; here.now() < end; bursts += 1) {
    here.after(0, () => {
      for (let count = 0; count < burst; count += 1) ask(bursts)
    })
    await here.runUntil(here.now() + dice.between(...gapMs), () => {})
  }
  await here.runUntil(here.now() + AFTER_MS, () => {})
  waits.sort((a, b) => a - b)
  return { admitted: waits.length, refused, unavailable, excess: audited.excess(), waits }
}

/** A process's memory tells its time by the process's own monotonic clock. */
function timed({ read, writeIfMatch }: CounterStore, { time }: Machine): CounterStore {
  const own = <T extends { readonly time: object | undefined }>(reply: T): T => {
    const at = time.now()
    return { ...reply, time: reply.time && { ...reply.time, sent: at, received: at } }
  }
  return {
    read: async (...args) => own(await read(...args)),
    writeIfMatch: async (...args) => own(await writeIfMatch(...args)),
  }
}
