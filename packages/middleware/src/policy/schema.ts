import { z } from 'zod'
import { DURATION } from './duration.ts'

/*
 * The policy document's grammar. What the grammar knows but this version does not enforce is refused in `supported.ts`,
 * so that no limit is ever written down and not kept. Unknown fields are refused as typos.
 */

const name = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'must be 1 to 64 letters, digits, dots, dashes or underscores')

const duration = z.string().regex(DURATION, 'must be a duration such as 30s, 1m, 2h or 1d')

const epoch = z.enum(['minute', 'hour', 'day', 'month'])

const count = z.int().min(1).max(1_000_000_000)

const requestLimit = z
  .strictObject({
    requests: count.max(1_000_000).describe('Requests admitted in each period.'),
    per: z
      .union([duration, epoch], { error: 'must be a duration such as 30s, 1m, 2h or 1d' })
      .describe('The period: a duration (1m) for a bucket that refills steadily, or a UTC window (month) for a quota.'),
    burst: z.int().min(0).max(1_000_000).optional().describe('Requests admitted at once beyond the steady rate.'),
    strict: z.boolean().optional().describe('Keep any window of the period at or under the number of requests.'),
  })
  .describe('{requests: 10, per: 1m, burst: 5}: any interval W admits at most 15 + W × 10/minute.')

const tokenLimit = z.strictObject({
  tokens: count,
  per: z.union([duration, epoch], { error: 'must be a duration such as 1m, or minute, hour, day, month' }),
  burst: z.int().min(0).optional(),
})
const moneyLimit = z.strictObject({ usd: z.number().positive().max(1_000_000), per: epoch })
const concurrencyLimit = z.strictObject({ concurrent: z.int().min(1).max(100_000) })

const limit = z.union([requestLimit, tokenLimit, moneyLimit, concurrencyLimit], {
  error: 'must be a limit such as {requests: 10, per: 1m}',
})

/** A value of an environment variable; a secret is never written into a policy. */
const fromEnv = z.strictObject(
  { env: z.string().regex(/^[A-Z][A-Z0-9_]*$/, 'must be the name of an environment variable') },
  { error: 'must be {env: NAME}: a secret is never written into a policy' },
)

const endpoint = z.union([z.url(), fromEnv], { error: 'must be a URL, or {env: NAME}' })

const target = z.union(
  [
    z
      .strictObject({
        azure: z.strictObject({
          endpoint: endpoint.describe('https://<resource>.openai.azure.com'),
          deployment: z.string().min(1).max(128),
          apiVersion: z.string().min(1).max(64).optional().describe('A dated API; absent: /openai/v1/.'),
          key: fromEnv.optional().describe('Absent: managed identity.'),
        }),
      })
      .describe('An Azure OpenAI deployment.'),
    z
      .strictObject({
        openai: z.strictObject({
          baseUrl: endpoint.optional().describe('Any OpenAI-compatible server; absent: api.openai.com.'),
          model: z.string().min(1).max(128),
          key: fromEnv.optional(),
        }),
      })
      .describe('OpenAI, or a server that speaks its language.'),
  ],
  { error: 'must be {azure: …} or {openai: …}' },
)

export const policySchema = z
  .strictObject({
    plans: z
      .record(name, z.strictObject({ limits: z.array(limit).max(16) }))
      .optional()
      .describe('What consumers may use, by the name of their plan.'),
    global: z
      .strictObject({ limits: z.array(limit).max(16) })
      .optional()
      .describe('Limits on all consumers together.'),
    models: z
      .record(name, z.strictObject({ targets: z.array(target).min(1).max(16) }))
      .optional()
      .describe("Models that callers may name. 'default' is the one of the OPENAI_* settings unless it is given here."),
    routes: z
      .strictObject({
        generate: z
          .strictObject({
            model: name.optional().describe('The model where the request names none.'),
            cache: z
              .union(
                [
                  z.literal(false),
                  z.strictObject({
                    ttl: duration.optional().describe('How long a completion is served again (1h).'),
                    sampled: z.boolean().optional().describe('Cache although the temperature is above 0 (true).'),
                  }),
                ],
                { error: 'must be false, or {ttl: 1h, sampled: true}' },
              )
              .optional(),
          })
          .optional(),
      })
      .optional(),
  })
  .describe('Tollgate policy')

export type PolicyDocument = z.infer<typeof policySchema>
export type LimitDocument = z.infer<typeof limit>
export type TargetDocument = z.infer<typeof target>

/** The published JSON Schema (draft 2020-12), for editors and for those who generate policies. */
export function policyJsonSchema(): object {
  return { title: 'Tollgate policy', ...z.toJSONSchema(policySchema) }
}
