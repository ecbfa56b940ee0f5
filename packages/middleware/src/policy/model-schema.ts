import * as z from 'zod'

/** A value of an environment variable; a secret is never written into a policy. */
const fromEnv = z.strictObject(
  { env: z.string().regex(/^[A-Z][A-Z0-9_]*$/, 'must be the name of an environment variable, such as OPENAI_API_KEY') },
  { error: 'must be {env: NAME}: a secret is never written into a policy' },
)

const endpoint = z.union([z.url({ abort: true }), fromEnv], { error: 'must be a URL, or {env: NAME}' })

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

/** USD per million tokens. No finer than six decimals, so that a token's price is a whole number of pico-dollars. */
const dollars = z
  .number()
  .min(0)
  .max(10_000)
  .refine(
    (usd) => Math.round(usd * 1e6) / 1e6 === usd,
    'must have at most 6 decimals: it is dollars per million tokens',
  )

const price = z
  .strictObject({
    input: dollars.describe('What the model reads.'),
    output: dollars.describe('What the model writes.'),
    cachedInput: dollars.optional().describe("What the model reads from its provider's cache (as input)."),
  })
  .describe('USD per million tokens, with at most 6 decimals.')

export const model = z.strictObject({
  targets: z
    .array(target)
    .min(1)
    .max(16)
    .optional()
    .describe("Where it is served. Only 'default' may go without: the OPENAI_* settings serve it then."),
  price: price.optional(),
  contextWindow: z
    .int()
    .min(1)
    .max(100_000_000)
    .optional()
    .describe('The most tokens of one request, prompt and answer together.'),
})

export type TargetDocument = z.infer<typeof target>
export type PriceDocument = z.infer<typeof price>
