import type { Limiter, RateLimit, Subject } from '@tollgate/middleware'
import { audit } from './audit.ts'
import { type Versions, versionOf } from './limits-under-test.ts'
import { machine } from './machine.ts'
import { random } from './random.ts'
import { sharedStore } from './shared-store.ts'
import { world } from './world.ts'

const LIMIT: RateLimit = {
  kind: 'rate',
  key: 'requests:1000',
  name: 'requests',
  measure: 'requests',
  model: undefined,
  quota: 2,
  burst: 98,
  capacity: 100,
  refill: 2,
  periodMs: 1_000,
}

/** So long after its lease's end the hoarder wakes: the bucket has refilled meanwhile. */
const AWAKE_MS = 40_000

/** What becomes of the hoarder's writes once it is cut off, and how much it spends at once in that moment. */
export interface Hoard {
  readonly applied: 0 | 1
  readonly spentFirst: number
  /** Whether its machine is suspended instead, until a moment after the lease's end. */
  readonly sleeps: boolean
}

/**
 * The hardest case for a bucket whose units are handed out, which chance seldom hits: an instance hoards a lease, is cut
 * off from the store or falls asleep, spends the rest in the last moment of its life or when it wakes, and right after
 * its end another takes all that there is.
 *
 * @returns by how many units the promise was broken; 0 while it holds
 */
export async function hoardThenBurst(versions: Versions, { applied, spentFirst, sleeps }: Hoard): Promise<number> {
  const here = world(Date.UTC(2026, 0, 1))
  const dice = random(7)
  const store = sharedStore(here, dice, { onWrite: () => {} })
  const subject: Subject = { id: 'global', limits: [LIMIT] }
  const audited = audit(LIMIT, () => 0)
  const [hoarder, other] = [machine(here, dice), machine(here, dice)]
  const boot = (on: typeof hoarder, index: number): Limiter =>
    versionOf(versions, index).limiter({ store: store.from(on), deadlineMs: 2_000, time: on.time, random: dice.next })
  const [first, second] = [boot(hoarder, 0), boot(other, 1)]
  const ask = (limiter: Limiter, count: number) => {
    for (let index = 0; index < count; index += 1) {
      void limiter.admit([{ subject, limit: LIMIT, units: 1 }]).then(
        ({ admitted }) => admitted && audited.spend(1, here.now()),
        () => {},
      )
    }
  }
  const runTo = (end: number) => here.runUntil(end, () => {})

  for (let turn = 0; turn < 20; turn += 1) {
    ask(first, 1)
    await runTo(here.now() + 1_000)
  }
  const end = first.leases('global')[0]?.endsAt ?? 0
  if (sleeps) hoarder.stall(end + AWAKE_MS - here.now(), true)
  else store.cutOff(hoarder, 100_000, applied)
  ask(first, spentFirst)
  while (here.now() < end - 5_500) {
    await runTo(here.now() + 4_000)
    if (!sleeps) ask(first, 1)
  }
  await runTo(end - 1_500)
  if (sleeps) hoarder.deliver(() => ask(first, 100))
  else ask(first, 100)
  await runTo(end + (sleeps ? AWAKE_MS - 1_000 : 100))
  ask(second, 200)
  await runTo(here.now() + 5_000)
  return audited.excess()
}
