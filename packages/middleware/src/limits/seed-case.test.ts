import { expect, test } from 'vitest'
import { machine } from '../../../../test/simulator/machine.ts'
import { random } from '../../../../test/simulator/random.ts'
import { world } from '../../../../test/simulator/world.ts'
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

const START = Date.UTC(2026, 0, 1)
/** 3,000 requests a second: so many at once, so often. */
const [AT_ONCE, EVERY_MS] = [15, 5]
const ASKED_MS = 2_500
const DEADLINE_MS = 2_000

test('user A has 10 a minute, user B 60, and the whole system never above 1,000 in any second', async () => {
  // The simulator's time: how busy the machine is changes nothing.
  const around = world(START)
  const dice = random(1)
  const { time } = machine(around, dice)
  const store = memoryCounterStore({ wallClock: around.now, now: time.now })
  const instances = [0, 1].map(() => limiter({ store, time, random: dice.next, deadlineMs: DEADLINE_MS }))
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
    const asked = around.now()
    const decision = await instances[Math.floor(turn / consumers.length) % 2]?.admit(requestClaims(subjects))
    if (decision?.admitted) admissions.push({ asked, admitted: around.now(), id: consumer.id })
  }
  // To the two instances by turns.
  const asking: Promise<void>[] = []
  for (let at = 0; at < ASKED_MS; at += EVERY_MS) {
    around.after(at, () => {
      for (let i = 0; i < AT_ONCE; i += 1) asking.push(ask(asking.length))
    })
  }
  await around.runUntil(START + ASKED_MS + DEADLINE_MS, () => {})
  await Promise.all(asking)
  expect(asking).toHaveLength((ASKED_MS / EVERY_MS) * AT_ONCE)
  const seconds = (Math.max(...admissions.map(({ admitted }) => admitted)) - START) / 1_000

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
