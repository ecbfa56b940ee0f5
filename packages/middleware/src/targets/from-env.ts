import * as z from 'zod'

/** A value of an environment variable; a secret is never written into a policy. */
export const fromEnv = z.strictObject(
  { env: z.string().regex(/^[A-Z][A-Z0-9_]*$/, 'must be the name of an environment variable, such as OPENAI_API_KEY') },
  { error: 'must be {env: NAME}: a secret is never written into a policy' },
)

export type FromEnv = z.infer<typeof fromEnv>

export const endpoint = z.union([z.url({ abort: true }), fromEnv], { error: 'must be a URL, or {env: NAME}' })
