import {
  azureUrl,
  DEFAULT_MODEL,
  isAzureForm,
  listText,
  modelsBehind,
  type PolicyOutline,
  routeOf,
} from '@tollgate/middleware'

type Outline = Pick<PolicyOutline, 'routes' | 'models'> & Partial<Pick<PolicyOutline, 'virtualModels'>>

/** What the OPENAI_* settings ask for where they name no model. */
const DEFAULT_MODEL_NAME = 'gpt-4'

/** What a person is told of a model that is configured: that it is real, its name, and where it is; `undefined` where none is. */
export function realModelText(env: NodeJS.ProcessEnv, outline: Outline): string | undefined {
  const { model } = routeOf(outline, 'generate')
  const servedAs = servedByPolicy(model, outline)
  if (servedAs !== undefined) return `'${model}', by the policy: REAL, ${servedAs}`
  const name = nameOf(env)
  if (env.OPENAI_ENDPOINT) return `REAL: ${name} on ${hostOf(env.OPENAI_ENDPOINT)} (Azure), by OPENAI_ENDPOINT`
  if (env.OPENAI_BASE_URL) return `REAL: ${name} on ${hostOf(env.OPENAI_BASE_URL)}, by OPENAI_BASE_URL`
  if (env.OPENAI_API_KEY)
    return `REAL: ${name} on api.openai.com, billed to OPENAI_API_KEY; unset it for a simulated one`
  return undefined
}

/** The names by which servers know what a model comes to; `undefined` where the app's settings serve any of it. */
export function servedByPolicy(model: string, { models, virtualModels }: Outline): string | undefined {
  const served = modelsBehind(model, virtualModels).map((name) => models.get(name)?.servedAs)
  const names = served.filter((name) => name !== undefined)
  return names.length < served.length ? undefined : listText(new Set(names), 'or')
}

/** The policy's models beside the one that answers by default: callers may name them, and each has a server of its own. */
export function otherModelsText(outline: Outline): string {
  const own = modelsBehind(routeOf(outline, 'generate').model, outline.virtualModels)
  const others = [...outline.models.keys()].filter((name) => !own.includes(name) && name !== DEFAULT_MODEL)
  return others.length === 0 ? '' : `; REAL, by the policy, where a request names it: ${listText(others)}`
}

/** An Azure URL can name its deployment. */
function nameOf({ OPENAI_MODEL_NAME, OPENAI_ENDPOINT, OPENAI_BASE_URL }: NodeJS.ProcessEnv): string {
  if (OPENAI_MODEL_NAME) return OPENAI_MODEL_NAME
  const url = URL.parse(OPENAI_ENDPOINT || OPENAI_BASE_URL || '')
  if (url === null || !(OPENAI_ENDPOINT || isAzureForm(url))) return DEFAULT_MODEL_NAME
  try {
    return azureUrl(url).deployment ?? DEFAULT_MODEL_NAME
  } catch {
    // The app refuses it, and says why.
    return DEFAULT_MODEL_NAME
  }
}

/** The rest of an address can hold a password. */
function hostOf(url: string): string {
  return URL.parse(url)?.host || 'an address that is no URL'
}
