import { hash } from 'node:crypto'
import { type CounterStore, type Limit, limiter, redisCounterStore, tableCounterStore } from '@tollgate/middleware'
import { afterEach, describe, expect, inject, test } from 'vitest'
import { unique } from '../support/consumers.ts'
import { openAccount, tableClient } from '../support/tables.ts'
import { describeWithRedis } from '../support/with-redis.ts'

const now = () => performance.now()
const MONEY: Limit = {
  kind: 'budget',
  key: 'money:month',
  name: 'usd',
  measure: 'money',
  model: undefined,
  quota: 500_000_000,
  per: 'month',
}
const CENT = 10_000_000

const opened: { close(): Promise<void> }[] = []
afterEach(async () => {
  await Promise.all(opened.splice(0).map((each) => each.close()))
})

/** Instances over one store, with a subject of their own; all that they admit is spent when `end` is called. */
function fleet(store: CounterStore) {
  const subject = { id: unique('lost'), limits: [MONEY] }
  const losses: string[] = []
  const instance = () => {
    const events = { rowLost: (_subject: string, loss: string) => losses.push(loss) }
    const made = limiter({ store, deadlineMs: 20_000, events })
    opened.push(made)
    return {
      ask: (units: number) => made.admit([{ subject, limit: MONEY, units }]),
    }
  }
  return { subject, losses, instance }
}

/** Asks for a cent at a time until there is none left; what was admitted, in nano-dollars. */
async function drain(instances: ReturnType<ReturnType<typeof fleet>['instance']>[]): Promise<number> {
  let spent = 0
  for (let turn = 0, refused = 0; refused < instances.length; turn += 1) {
    const decision = await instances[turn % instances.length]?.ask(CENT)
    if (decision?.admitted) {
      decision.settle(() => CENT)
      spent += CENT
      refused = 0
    } else refused += 1
  }
  return spent
}

function survivesLoss(name: string, create: () => CounterStore, lose: (subject: string) => Promise<unknown>): void {
  describe(`G1: ${name}`, () => {
    test('gives a budget no more than one further quota, though reservations were in flight', async () => {
      const { subject, instance, losses } = fleet(create())
      const [one, two, three] = [instance(), instance(), instance()]
      const reserved = await Promise.all([one, two, three].flatMap((each) => [each.ask(12 * CENT), each.ask(4 * CENT)]))
      await lose(subject.id)
      // It begins anew by one that knows nothing of it, and takes all that it is given.
      let spent = await drain([instance()])
      for (const decision of reserved) {
        if (!decision.admitted) continue
        decision.settle(() => CENT)
        spent += CENT
      }
      const drained = async () => {
        spent += await drain([one, two, three])
        return losses.length
      }
      await expect.poll(drained, { timeout: 15_000 }).toBeGreaterThan(0)
      expect(spent).toBeLessThanOrEqual(2 * MONEY.quota)
    }, 60_000)

    test('is rebuilt by those that have seen it: nothing is admitted again', async () => {
      const { subject, instance, losses } = fleet(create())
      const [one, two] = [instance(), instance()]
      const [held] = [await one.ask(20 * CENT)]
      expect(await drain([two])).toBe(30 * CENT)
      expect((await one.ask(CENT)).admitted).toBe(false)
      await lose(subject.id)
      await expect
        .poll(async () => [(await two.ask(CENT)).admitted, (await one.ask(CENT)).admitted, losses[0]], {
          timeout: 15_000,
        })
        .toEqual([false, false, 'gone'])
      if (held.admitted) held.settle(() => 15 * CENT)
      await expect.poll(async () => (await two.ask(5 * CENT)).admitted, { timeout: 15_000 }).toBe(true)
      expect(await drain([one, two, instance()])).toBe(0)
    }, 60_000)
  })
}

const open = openAccount(inject('azurite'))
survivesLoss(
  'a row that was deleted from the tables',
  () => tableCounterStore({ open, now }),
  async (subject) => {
    const table = tableClient(inject('azurite'), 'tollgatecounters')
    await table.deleteEntity(hash('sha256', subject, 'base64url'), 'counters')
  },
)
describeWithRedis('on Redis', (redis) => {
  survivesLoss(
    'a Redis that was emptied by FLUSHALL',
    () => redisCounterStore({ redis, now }),
    () => redis.send(['FLUSHALL'], new AbortController().signal),
  )
})
