import * as z from 'zod'
import { manageAction } from './action.ts'

const consumer = z.strictObject({
  id: z.string(),
  plan: z.string(),
  disabled: z.boolean(),
  planMissing: z.boolean().describe('The policy in force does not have the plan: all requests are refused.'),
})

export const listConsumers = manageAction({
  id: 'listConsumers',
  summary: 'All consumers, by their ids.',
  method: 'GET',
  path: '/consumers',
  input: z.strictObject({}),
  output: z.strictObject({ consumers: z.array(consumer) }),
  async run(_input, { consumers, policy, signal }) {
    const found = await Array.fromAsync(consumers.listConsumers(signal))
    return {
      consumers: found
        .toSorted((a, b) => (a.id < b.id ? -1 : 1))
        .map((each) => ({ ...each, planMissing: !policy.plans.has(each.plan) })),
    }
  },
})
