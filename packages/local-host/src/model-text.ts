import type { PolicyOutline } from '@tollgate/middleware'

/** What the OPENAI_* settings ask for where they name no model. */
const DEFAULT_MODEL_NAME = 'gpt-4'

/** What a person is told of a model that is configured: that it is real, its name, and where it is; `undefined` where none is. */
export function realModelText(
  env: NodeJS.ProcessEnv,
  { generateModel, generateServedAs }: Pick<PolicyOutline, 'generateModel' | 'generateServedAs'>,
): string | undefined {
  if (generateModel !== undefined) return `'${generateModel}', by the policy: REAL, ${generateServedAs}`
  const name = env.OPENAI_MODEL_NAME || DEFAULT_MODEL_NAME
  if (env.OPENAI_ENDPOINT) return `REAL: ${name} on ${hostOf(env.OPENAI_ENDPOINT)} (Azure), by OPENAI_ENDPOINT`
  if (env.OPENAI_BASE_URL) return `REAL: ${name} on ${hostOf(env.OPENAI_BASE_URL)}, by OPENAI_BASE_URL`
  if (env.OPENAI_API_KEY)
    return `REAL: ${name} on api.openai.com, billed to OPENAI_API_KEY; unset it for a simulated one`
  return undefined
}

/** The rest of an address can hold a password. */
function hostOf(url: string): string {
  return URL.parse(url)?.host || 'an address that is no URL'
}
