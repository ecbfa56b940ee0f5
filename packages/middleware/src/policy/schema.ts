import * as z from 'zod'
import { TARGET_KINDS, type TargetKind } from '../targets/index.ts'
import { groupsSchema } from './group.ts'
import { identitySchema } from './identity.ts'
import { limits } from './limit.ts'
import { modelSchema } from './model.ts'
import { name } from './names.ts'
import { planSchema } from './plan.ts'
import { ROUTES, routesSchema } from './route.ts'
import { usageSchema } from './usage.ts'

/*
 * The policy document's grammar. What the grammar knows but this version does not enforce is refused where it is resolved,
 * so that no limit is ever written down and not kept. Unknown fields are refused as typos.
 */

/**
 * @param routes the names that `routes` may have
 * @param kinds that a target may be of
 */
export function policySchema(routes: readonly string[], kinds: readonly TargetKind[]) {
  return z
    .strictObject({
      plans: z.record(name, planSchema).optional().describe('What consumers may use, by the name of their plan.'),
      global: z.strictObject({ limits }).optional().describe('Limits on all consumers together.'),
      storeDown: z
        .enum(['closed', 'open'])
        .optional()
        .describe(
          "Whether limits on requests, tokens and concurrency refuse (closed) or admit (open) while the counters' store " +
            'is down. Limits on money always refuse.',
        ),
      unpriced: z
        .enum(['refuse', 'worst'])
        .optional()
        .describe(
          'What a limit on money does with a model that has no price: refuse it, or take the highest price of any (worst).',
        ),
      models: z
        .record(name, modelSchema(kinds))
        .optional()
        .describe(
          "Models that callers may name. 'default' is the one of the OPENAI_* settings unless it is given here.",
        ),
      routes: routesSchema(routes).optional(),
      identity: identitySchema.optional(),
      groups: groupsSchema.optional(),
      usage: usageSchema.optional(),
    })
    .describe('Tollgate policy')
}

export type PolicyDocument = z.infer<ReturnType<typeof policySchema>>

/** The published JSON Schema (draft 2020-12), for editors and for those who generate policies. */
export function policyJsonSchema(routes = ROUTES, kinds = TARGET_KINDS): object {
  return { title: 'Tollgate policy', ...z.toJSONSchema(policySchema(routes, kinds)) }
}
