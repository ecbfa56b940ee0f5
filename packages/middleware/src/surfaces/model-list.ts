import { type Handler, jsonResponse, unknownModel } from '../pipeline/index.ts'

/** What a caller's policy says of the models that it may ask. */
export interface ListedModels {
  readonly policy: {
    readonly models: ReadonlyMap<string, unknown>
    readonly plans: ReadonlyMap<string, ListedPlan>
  }
  readonly consumer: { readonly plan: string }
}

interface ListedPlan {
  readonly name: string
  /** `models`: those that its consumers may ask; all where it lists none. */
  readonly rights?: { readonly models: readonly string[] | undefined } | undefined
}

export interface ModelListOptions<Needs> {
  /** Whether the caller's limits would refuse each request for the model: a limit on money, of one without a price. */
  readonly isRefused: (model: string, context: Needs) => boolean
}

/**
 * `GET …/models` and `GET …/models/{id}`: the models that the caller may use, as OpenAI lists them. Their ids are what a
 * request names: the policy's names, and for Azure's clients the deployments.
 */
export function modelList<Needs extends ListedModels>({ isRefused }: ModelListOptions<Needs>): Handler<Needs> {
  return function modelList({ url }, context) {
    const { policy, consumer } = context
    const asked = askedFor(url)
    const allowed = policy.plans.get(consumer.plan)?.rights?.models
    const mayAsk = (id: string) => (allowed?.includes(id) ?? true) && !isRefused(id, context)
    const ids = [...policy.models.keys()].filter(mayAsk)
    if (asked === undefined) return jsonResponse(200, { object: 'list', data: ids.map(listed) })
    return ids.includes(asked) ? jsonResponse(200, listed(asked)) : unknownModel(asked)
  }
}

/** When a policy's model was made nobody knows; clients want a number. */
function listed(id: string): object {
  return { id, object: 'model', created: 0, owned_by: 'tollgate' }
}

/** `undefined` for all of them. */
function askedFor({ pathname }: URL): string | undefined {
  const [, id] = /\/models\/([^/]+)\/?$/i.exec(pathname) ?? []
  if (id === undefined) return undefined
  try {
    return decodeURIComponent(id)
  } catch {
    return id
  }
}
