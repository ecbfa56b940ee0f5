import { startStorageProxy } from '../../support/storage-proxy.ts'
import { runLoad, type Subject } from '../harness.ts'
import type { Workbench } from '../workbench/workbench.ts'
import { type Rig, startRig, subjectsOf } from './subjects.ts'

/** Leases of limits are small at first, and cost more calls. */
const WARM_UP_EACH = 10
const LONGEST_SECONDS = 120

/** With something between the gateways and the stores that counts. */
export function startCountedRig(bench: Workbench): Promise<Rig> {
  return startRig(bench, async (tables) => {
    const proxy = await bench.closing.add(startStorageProxy(tables), (passing) => passing.close())
    return { tables: proxy.connectionString, calls: () => proxy.transactions().length }
  })
}

/** Calls of a store for each request, at the wire, by prompt length and subject. */
export async function storeCalls(
  rig: Rig,
  sizes: readonly number[],
  each: number,
): Promise<ReadonlyMap<number, ReadonlyMap<string, number>>> {
  const bySize = new Map<number, ReadonlyMap<string, number>>()
  for (const kib of sizes) {
    const counts = new Map<string, number>()
    for (const subject of subjectsOf(rig, { kib, each })) counts.set(subject.name, await count(rig, subject, each))
    bySize.set(kib, counts)
  }
  return bySize
}

async function count(rig: Rig, { name, load, prepare }: Subject, each: number): Promise<number> {
  await runLoad(name, { ...load, seconds: LONGEST_SECONDS, each: WARM_UP_EACH, ...(await prepare?.()) })
  const change = await prepare?.()
  const before = rig.storeCalls()
  const { requests } = await runLoad(name, { ...load, seconds: LONGEST_SECONDS, each, ...change })
  return (rig.storeCalls() - before) / requests
}
