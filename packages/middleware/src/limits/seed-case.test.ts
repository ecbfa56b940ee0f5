import { expect, test } from 'vitest'
import { resolvePolicy } from '../policy/index.ts'
import { limiter, memoryCounterStore, requestClaims, subjectsOf } from './index.ts'

const POLICY = resolvePolicy(
  {
    plans: {
      one: { limits: [{ requests: 10, per: '1m' }] },
      two: { limits: [{ requests: 60, per: '1m' }] },
    },
    global: { limits: [{ requests: 1000, per: '1s', strict: true }] },
  },
  { source: 'test', bounds: { env: {}, readable: [], hosts: [] }, defaultTarget: undefined },
)

test('user A has 10 a minute, user B 60, and the whole system never above 1,000 in any second', async () => {
  const now = () => performance.now()
  const store = memoryCounterStore({ wallClock: Date.now, now })
  const instances = [0, 1].map(() => limiter({ store, deadlineMs: 2_000 }))
  const consumers = [
    { id: 'A', plan: 'one' },
    { id: 'B', plan: 'two' },
    ...Array.from({ length: 100 }, (_, i) => ({ id: `other-${i}`, plan: 'two' })),
  ]
  const admissions: { readonly asked: number; readonly admitted: number; readonly id: string }[] = []

  async function ask(turn: number): Promise<void> {
    const consumer = consumers[turn % consumers.length] ?? { id: 'A', plan: 'one' }
    const subjects = subjectsOf(POLICY, consumer)
    if ('code' in subjects) throw new Error(subjects.message)
    const asked = now()
    const decision = await instances[Math.floor(turn / consumers.length) % 2]?.admit(requestClaims(subjects))
    if (decision?.admitted) admissions.push({ asked, admitted: now(), id: consumer.id })
  }
  // 3,000 requests a second, to two instances by turns.
  const began = now()
  const asking: Promise<void>[] = []
  while (now() - began < 2_500) {
    const due = ((now() - began) / 1_000) * 3_000
    while (asking.length < due) asking.push(ask(asking.length))
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  await Promise.all(asking)
  const seconds = (now() - began) / 1_000
  await Promise.all(instances.map((each) => each.close()))

  const of = (id: string) => admissions.filter((each) => each.id === id).length
  // Buckets of 10 and 60, of which one comes back in six seconds, and one in each.
  expect(of('A')).toBeLessThanOrEqual(10 + seconds / 6)
  expect(of('B')).toBeLessThanOrEqual(60 + seconds)
  for (const { asked: from } of admissions) {
    const within = admissions.filter(({ asked, admitted }) => asked >= from && admitted < from + 1_000)
    expect(within.length).toBeLessThanOrEqual(1_000)
  }
  // It would hold for a system that admits nobody, too.
  expect(admissions.length).toBeGreaterThan(1_500)
})
