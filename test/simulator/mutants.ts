import { cpSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
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
    find: 'Math.min(left.level + (returned - granted) * left.periodMs, roomFor(left, unitsIn(out)))',
    replace: 'left.level + (returned - granted) * left.periodMs',
    seed: 183,
  },
  {
    name: 'keeps what a request did not use, though it is a real share of the bucket',
    file: 'leases/sizing.ts',
    find: "if (limit.measure === 'requests' || limit.kind === 'concurrency') return false",
    replace: "if (limit.key !== '') return false",
    seed: 1,
  },
  {
    name: 'refuses for want of what another instance is giving back',
    file: 'leases/shared-counter.ts',
    find: 'const LOOK_AGAIN_MS = [40, 70, 140]',
    replace: 'const LOOK_AGAIN_MS: number[] = []',
    seed: 1,
  },
  {
    name: 'tells how long to wait by what it saw before the request came',
    file: 'leases/shared-counter.ts',
    find: '(seen?.at ?? 0) < since && !wasRefused(claim)',
    replace: '(seen?.at ?? 0) < 0 * since && !wasRefused(claim)',
    seed: 1,
  },
]

/** A copy of the middleware's sources with the defect in it; the folder's path. */
export function plant({ file, find, replace }: Mutant): string {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-mutant-'))
  const root = join(folder, 'src')
  cpSync(MIDDLEWARE, root, { recursive: true, filter: (path) => !path.endsWith('.test.ts') })
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  symlinkSync(join(MIDDLEWARE, '../../../node_modules'), join(folder, 'node_modules'), 'junction')
  const path = join(root, 'limits', file)
  const [before, after, ...more] = readFileSync(path, 'utf8').split(find)
  if (before === undefined || after === undefined || more.length > 0) {
    throw new Error(`${file} has no single place that reads: ${find}`)
  }
  writeFileSync(path, before + replace + after)
  return folder
}
