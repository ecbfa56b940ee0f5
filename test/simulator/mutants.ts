import { registerHooks } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { MIDDLEWARE } from './limits-under-test.ts'

/** A defect that the simulator must notice: one piece of the limiter's source, and what stands there instead. */
export interface Mutant {
  readonly name: string
  /** Below `limits/`. */
  readonly file: string
  readonly find: string
  readonly replace: string
  /** The first schedule, of those that notice it. */
  readonly seed: number
  /** How many are tried from there. Default: 40; 0 where a lone caller notices it, after all of them. */
  readonly schedules?: number
  /** Whether it takes a policy that changes. */
  readonly revisions?: true
}

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'refills across the end of a lease in one step',
    file: 'accounts/rate.ts',
    find: 'bucket = roll(bucket, room(account, out), slotEnd(slot))\n      out -= units',
    replace: 'out -= units',
    seed: 1,
  },
  {
    name: 'refills up to the capacity, whatever is leased',
    file: 'accounts/rate.ts',
    find: 'capacity: Math.max(0, capacity - out)',
    replace: 'capacity: capacity - 0 * out',
    seed: 1,
  },
  {
    name: 'keeps what is in flight not booked',
    file: 'leases/lease-write.ts',
    find: 'Math.min(booked, lease.held + inFlight) - returned',
    replace: 'Math.min(booked, lease.held) - returned',
    seed: 1,
  },
  {
    name: 'gives a refund to any lease',
    file: 'leases/lease.ts',
    find: 'const current = lease.generation === generation',
    replace: 'const current = lease.generation >= generation',
    seed: 8,
  },
  {
    name: 'takes back what was written off',
    file: 'leases/lease.ts',
    find: 'current && (reserved || lease.term === term)',
    replace: 'current && (reserved || lease.term >= term)',
    seed: 34,
  },
  {
    name: 'spends a lease after its end',
    file: 'leases/lease.ts',
    find: 'return latest < lease.endsAt ?',
    replace: 'return latest < Number.POSITIVE_INFINITY ?',
    seed: 1,
  },
  {
    name: 'goes by its own wall clock',
    file: 'stores/store-clock.ts',
    find: 'return { earliest: Math.floor(earliestFrom(low)), latest: Math.ceil(latestFrom(high)) }',
    replace: 'return { earliest: Math.floor(wallClock()), latest: Math.ceil(wallClock()) }',
    seed: 1,
  },
  {
    name: 'does not know that it slept',
    file: 'stores/store-clock.ts',
    find: 'Math.max(0, now() - edge.now, wall() - edge.wall)',
    replace: 'Math.max(0, now() - edge.now)',
    seed: 1,
  },
  {
    name: 'writes though the row has changed',
    file: 'leases/lease-sync.ts',
    find: 'if (written?.etag !== undefined) {',
    replace: 'if (written !== undefined) {',
    seed: 1,
  },
  {
    name: 'gives back without freezing',
    file: 'leases/lease-write.ts',
    find: 'lease.held -= returned - again\n    lease.frozen += returned - again\n    lease.term',
    replace: 'void returned\n    lease.term',
    seed: 1,
  },
  {
    name: 'takes a lost reply for a success',
    file: 'leases/lease-sync.ts',
    find: 'if (written === undefined) unknown.push({ write, etag: version.etag })',
    replace: 'if (written === undefined) complete(write)',
    seed: 1,
  },
  {
    name: 'takes a lost reply for a failure',
    file: 'leases/lease-sync.ts',
    find: 'if (written === undefined) unknown.push({ write, etag: version.etag })',
    replace: 'if (written === undefined) rollback(write)',
    seed: 3,
  },
  {
    name: 'lets a full bucket overflow by what the clock does not know',
    file: 'accounts/rate.ts',
    find: 'Math.max(bucket.at, latest - Math.floor(missing / size.refill))',
    replace: 'Math.max(bucket.at, latest - latest - Math.floor(missing / size.refill))',
    seed: 1,
  },
  {
    name: 'lets a renewal end a lease sooner',
    file: 'leases/lease-write.ts',
    find: 'Math.max(from ?? 0, slotFrom(',
    replace: 'Math.max(0, slotFrom(',
    seed: 1,
  },
  {
    name: 'looks at the first subject alone',
    file: 'leases/subject-claims.ts',
    find: 'if (groups.some((group) => isShort(group, interval))) return undefined',
    replace: 'if (groups.slice(0, 1).some((group) => isShort(group, interval))) return undefined',
    seed: 2,
  },
  {
    name: 'lets a row take back what it never handed out',
    file: 'accounts/account.ts',
    find: 'account.epoch === epoch && booked + account.lost >= units',
    replace: 'account.epoch === epoch',
    seed: 1,
  },
  {
    name: 'does not rebuild a row that is gone',
    file: 'leases/row-loss.ts',
    find: "if (found === undefined) return 'gone'",
    replace: 'if (found === undefined) return undefined',
    seed: 1,
  },
  {
    name: 'does not know an older version of a row',
    file: 'leases/row-loss.ts',
    find: "found.seq > known.seq || found.nonce === known.nonce ? undefined : 'older'",
    replace: 'undefined',
    seed: 1,
  },
  {
    name: 'does not know a row that was begun anew',
    file: 'leases/row-loss.ts',
    find: "if (contained === undefined) return 'other'",
    replace: 'if (contained === undefined) return undefined',
    seed: 1,
  },
  {
    name: 'takes every row for lost that another instance has written',
    file: 'leases/row-loss.ts',
    find: 'found.seq > known.seq || found.nonce === known.nonce',
    replace: 'found.nonce === known.nonce',
    seed: 1,
  },
  {
    name: 'fills a bucket of which more is leased than it holds',
    file: 'accounts/account.ts',
    find: 'Math.min(levelOf(left) + (returned - granted) * left.periodMs, roomOf({ ...left, out }))',
    replace: 'levelOf(left) + (returned - granted) * left.periodMs',
    seed: 183,
  },
  {
    name: 'keeps what a request did not use, though it is a real share of the bucket',
    file: 'leases/sizing.ts',
    find: "if (limit.measure === 'requests' || limit.kind === 'concurrency') return false",
    replace: "if (limit.key !== '') return false",
    seed: 1,
    schedules: 0,
  },
  {
    name: 'refuses for want of what another instance is giving back',
    file: 'leases/shared-counter.ts',
    find: 'const LOOK_AGAIN_MS = [40, 70, 140]',
    replace: 'const LOOK_AGAIN_MS: number[] = []',
    seed: 1,
    schedules: 0,
  },
  {
    name: 'refuses for want of certainty alone',
    file: 'leases/shared-counter.ts',
    find: 'if (lacksCertainty(last, interval)) return',
    replace: 'if (claim === undefined) return',
    seed: 1,
    schedules: 0,
  },
  {
    name: 'tells how long to wait by what it saw before the request came',
    file: 'leases/shared-counter.ts',
    find: '(seen?.at ?? 0) < since && !wasRefused(claim)',
    replace: '(seen?.at ?? 0) < 0 * since && !wasRefused(claim)',
    seed: 1,
    schedules: 0,
  },
  {
    name: 'does not count what another revision lets through',
    file: 'accounts/siblings.ts',
    find: 'booked[key] = withMoved(account, from, move)',
    replace: 'void withMoved(account, from, move)',
    seed: 5,
    schedules: 8,
    revisions: true,
  },
  {
    name: 'opens a full bucket, or an unspent budget, where only the period has changed',
    file: 'accounts/siblings.ts',
    find: 'account === undefined || isRaised(account, own) ?',
    replace: 'account === null || isRaised(account ?? own, own) ?',
    seed: 5,
    schedules: 8,
    revisions: true,
  },
  {
    name: 'forgets what a limit has counted that the policy no longer has',
    file: 'accounts/siblings.ts',
    find: '    accounts[key] = account\n',
    replace: '    void account\n',
    seed: 2,
    schedules: 8,
    revisions: true,
  },
  {
    name: 'fills a bucket when its size is changed',
    file: 'accounts/rate.ts',
    find: 'Math.min(levelOf(account), Math.max(0, capacity - leased) * periodMs)',
    replace: 'Math.max(0, capacity - leased) * periodMs',
    seed: 20,
    schedules: 8,
    revisions: true,
  },
  {
    name: 'lets a revision that is over resize a bucket',
    file: 'accounts/siblings.ts',
    find: 'isRetired && account?.kind',
    replace: 'account === null && account?.kind',
    seed: 556,
    schedules: 8,
    revisions: true,
  },
  {
    name: 'forgives what another revision was handed, though it may give it back',
    file: 'accounts/rate.ts',
    find: 'return level < 0 ? { ...rest, level: 0, owed: -level }',
    replace: 'return level < 0 ? { ...rest, level: 0, owed: 0 * level + 0 }',
    seed: 349,
    schedules: 8,
    revisions: true,
  },
  {
    name: 'opens an account with what comes back to it on top of what a sibling leaves',
    file: 'accounts/siblings.ts',
    find: '- used + leasedIn(sibling) - leased',
    replace: '- used + 0 * leasedIn(sibling)',
    seed: 11_962,
    schedules: 1,
    revisions: true,
  },
  {
    name: 'opens an account without what others may spend beside it',
    file: 'accounts/siblings.ts',
    find: 'held.reduce((most, each) => mergeSlots(most, each, Math.max), NO_SLOTS)',
    replace: 'held.reduce((most) => most, NO_SLOTS)',
    seed: 12_198,
    schedules: 8,
    revisions: true,
  },
  {
    name: 'lets a quota grow past what a sibling has counted',
    file: 'accounts/siblings.ts',
    find: 'stored.quota !== undefined && own.quota !== stored.quota',
    replace: 'stored.quota === null && own.quota !== stored.quota',
    seed: 11_404,
    schedules: 8,
    revisions: true,
  },
  {
    name: 'lets a bucket refill beside what instances of another revision hold',
    file: 'accounts/rate.ts',
    find: 'return beside === undefined ? out : together(out, beside)',
    replace: 'return beside === undefined ? out : together(out, NO_SLOTS)',
    seed: 1,
    schedules: 8,
    revisions: true,
  },
  {
    name: 'begins a window without what instances of another revision may still spend in it',
    file: 'accounts/budget.ts',
    find: 'granted: unitsIn(beside)',
    replace: 'granted: 0 * unitsIn(beside)',
    seed: 1,
    schedules: 8,
    revisions: true,
  },
]

/** From now on this process loads the file with the defect in it. @throws where it has no single place for it */
function plant({ file, find, replace }: Mutant): void {
  const planted = pathToFileURL(join(MIDDLEWARE, 'limits', file)).href
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context)
      if (url !== planted) return loaded
      const [before, after, ...more] = String(loaded.source).split(find)
      if (before === undefined || after === undefined || more.length > 0) {
        throw new Error(`${file} has no single place that reads: ${find}`)
      }
      return { ...loaded, source: before + replace + after }
    },
  })
}

/** Plants the defect of this name; none where no name is given. */
export function plantNamed(name: string | undefined, all: readonly Mutant[]): void {
  if (name === undefined) return
  const mutant = all.find((each) => each.name === name)
  if (mutant === undefined) throw new Error(`--defect: there is no defect '${name}'`)
  plant(mutant)
}
