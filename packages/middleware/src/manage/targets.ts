import * as z from 'zod'
import { priceJson } from '../policy/index.ts'
import { usageReader } from '../usage/index.ts'
import { type ManagedTarget, manageAction } from './action.ts'

const rates = z.record(z.string(), z.number())
const tokenRates = {
  usdPerMillionTokens: rates,
  above: z.strictObject({ tokens: z.int(), usdPerMillionTokens: rates }).optional(),
}
const price = z
  .strictObject({
    ...tokenRates,
    tiers: z.record(z.string(), z.union([z.number(), z.strictObject(tokenRates)])).optional(),
    zone: z.number().optional(),
    usdPerCall: z.record(z.string(), z.number()).optional(),
  })
  .describe('In US dollars. A number in `tiers`, and `zone`, is a multiple.')

const target = z.strictObject({
  model: z.string().describe('The name of its model in the policy.'),
  target: z.string().optional().describe('Its id; left out where only the app’s settings tell it.'),
  priority: z.number(),
  weight: z.number(),
  inZone: z.string().optional(),
  price: price.optional().describe('What is served there costs; left out where it has no price.'),
  spillover: price.optional().describe('What is served elsewhere in its place costs, where that is more.'),
})

export const listTargets = manageAction({
  id: 'listTargets',
  summary: 'The targets of the policy in force, and which of them an instance does not ask now.',
  method: 'GET',
  path: '/targets',
  refuses: [],
  input: z.strictObject({}),
  output: z.strictObject({
    targets: z.array(target),
    resting: z
      .array(
        z.strictObject({
          instance: z.string(),
          target: z.string(),
          tier: z
            .string()
            .optional()
            .describe('The service tier that has no room; left out where nothing is asked there.'),
          state: z
            .enum(['blocked', 'open'])
            .describe('`blocked`: its service said when to come back. `open`: it failed again and again.'),
          since: z.iso.datetime(),
          until: z.iso.datetime(),
        }),
      )
      .describe('As each instance told it within the last minute. A target that is not listed may be asked.'),
  }),
  async run(_input, { policy, usage: table, wallClock, signal }) {
    const reader = usageReader({ table, kept: () => policy.usage, wallClock })
    const resting = await reader.targets(signal)
    return {
      targets: [...policy.models.values()].flatMap(({ name, targets }) => targets.map((each) => told(name, each))),
      resting: resting.map(({ instance, target, tier, state, since, until }) => ({
        instance,
        target,
        ...(tier !== undefined && { tier }),
        state,
        since: new Date(since).toISOString(),
        until: new Date(until).toISOString(),
      })),
    }
  },
})

function told(model: string, { id, priority, weight, zone, ...prices }: ManagedTarget): z.input<typeof target> {
  return {
    model,
    ...(id !== undefined && { target: id }),
    priority,
    weight,
    ...(zone !== undefined && { inZone: zone }),
    ...(prices.price !== undefined && { price: priceJson(prices.price) as z.input<typeof price> }),
    ...(prices.spilloverPrice !== undefined && {
      spillover: priceJson(prices.spilloverPrice) as z.input<typeof price>,
    }),
  }
}
