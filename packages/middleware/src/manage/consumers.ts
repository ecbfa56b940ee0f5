import * as z from 'zod'
import type { Consumer } from '../auth/index.ts'
import { PolicyError } from '../policy/index.ts'
import { forgetConsumer } from '../usage/index.ts'
import { fromQuery, type Managed, manageAction } from './action.ts'
import { callerId, checkPlan, consumerId, invalid, unknownConsumer } from './names.ts'

const consumer = z.strictObject({
  id: z.string(),
  plan: z.string(),
  disabled: z.boolean(),
  planMissing: z
    .boolean()
    .optional()
    .describe(
      'The policy in force does not have the plan: all requests are refused. Left out where no policy can be read.',
    ),
})

/** What is told of a consumer. */
function told({ id, plan, disabled }: Consumer, managed: Managed): z.infer<typeof consumer> {
  const plans = plansOf(managed)
  return { id, plan, disabled, ...(plans !== undefined && { planMissing: !plans.has(plan) }) }
}

/** `undefined` where the policy can't be used: consumers can be listed all the same. */
function plansOf(managed: Managed): ReadonlyMap<string, unknown> | undefined {
  try {
    return managed.policy.plans
  } catch (error) {
    if (error instanceof PolicyError) return undefined
    throw error
  }
}

export const listConsumers = manageAction({
  id: 'listConsumers',
  summary: 'All consumers, by their ids.',
  method: 'GET',
  path: '/consumers',
  refuses: [],
  input: z.strictObject({
    limit: fromQuery(z.int().min(1).max(1_000)).optional().describe('The most that are listed (1,000).'),
    cursor: consumerId.optional().describe("The 'next' of an answer before: those after it are listed."),
  }),
  output: z.strictObject({
    consumers: z.array(consumer),
    next: z.string().optional().describe('The cursor of those that follow; left out where none do.'),
  }),
  async run({ limit = 1_000, cursor }, managed) {
    const consumers: z.infer<typeof consumer>[] = []
    for await (const each of managed.consumers.listConsumers(managed.signal, cursor)) {
      if (consumers.length === limit) return { consumers, next: consumers.at(-1)?.id }
      consumers.push(told(each, managed))
    }
    return { consumers }
  },
})

export const showConsumer = manageAction({
  id: 'showConsumer',
  summary: 'A consumer.',
  method: 'GET',
  path: '/consumers/{consumer}',
  refuses: [404],
  input: z.strictObject({ consumer: consumerId }),
  output: consumer,
  async run({ consumer: id }, managed) {
    const found = await managed.consumers.findConsumer(id, managed.signal)
    if (found === undefined) throw unknownConsumer(id)
    return told(found, managed)
  },
})

export const setConsumer = manageAction({
  id: 'setConsumer',
  summary: 'Moves a consumer to another plan, or shuts all its keys out. Instances go by it within 30 seconds.',
  method: 'PATCH',
  path: '/consumers/{consumer}',
  refuses: [404, 422],
  input: z.strictObject({
    consumer: consumerId,
    plan: z.string().min(1).max(64).optional().describe('The plan to move to.'),
    disabled: z.boolean().optional().describe('true: all its keys are refused; false: they are let in again.'),
  }),
  output: consumer,
  async run({ consumer: id, plan, disabled }, managed) {
    if (plan === undefined && disabled === undefined) throw invalid(undefined, 'Say what to set: `plan` or `disabled`.')
    if (plan !== undefined) checkPlan(plan, managed)
    const { consumers, signal } = managed
    const change = { ...(plan !== undefined && { plan }), ...(disabled !== undefined && { disabled }) }
    if (!(await consumers.updateConsumer(id, change, signal))) throw unknownConsumer(id)
    const found = await consumers.findConsumer(id, signal)
    if (found === undefined) throw unknownConsumer(id)
    return told(found, managed)
  },
})

export const forgetUsage = manageAction({
  id: 'forgetUsage',
  summary:
    'Removes what the ledger of usage keeps of a consumer: its requests, and its name in all figures. Asking again does no harm.',
  method: 'POST',
  path: '/consumers/{consumer}/forget',
  refuses: [],
  input: z.strictObject({ consumer: callerId }),
  output: z.strictObject({
    requests: z.int().describe('Rows of requests that were removed.'),
    changed: z.int().describe('Sums from which its name was taken.'),
    againAt: z.iso
      .datetime()
      .optional()
      .describe(
        'An instance may still write its last requests: ask again from then on. Left out where nothing is to come.',
      ),
    unreadable: z.array(z.string()).describe('What can’t be read, and so may still have it: by partition and row.'),
  }),
  async run({ consumer: id }, { usage: table, wallClock, signal }) {
    const { rows, changed, againAt, unreadable } = await forgetConsumer({
      table,
      consumer: id,
      now: wallClock(),
      signal,
    })
    return {
      requests: rows,
      changed,
      ...(againAt !== undefined && { againAt: new Date(againAt).toISOString() }),
      unreadable: [...unreadable],
    }
  },
})
