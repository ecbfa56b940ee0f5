import { type Handler, jsonResponse, unknownModel } from '../pipeline/index.ts'

/** What a caller's policy says of the models that it may ask. */
export interface ListedModels {
  readonly policy: {
    readonly models: ReadonlyMap<string, unknown>
    /** Names that pick one of these. */
    readonly virtualModels?: ReadonlyMap<string, unknown>
  }
}

export interface ModelListOptions<Needs> {
  /** The models that the caller's requests for a name may come to; none where each of them would be refused. */
  readonly askable: (name: string, context: Needs) => readonly string[]
}

/**
 * `GET …/models` and `GET …/models/{id}`: the models that the caller may use, as OpenAI lists them. Their ids are what a
 * request names: the policy's names, and for Azure's clients the deployments.
 */
export function modelList<Needs extends ListedModels>({ askable }: ModelListOptions<Needs>): Handler<Needs> {
  return function modelList({ url }, context) {
    const { models, virtualModels } = context.policy
    const asked = askedFor(url)
    const ids = [...models.keys(), ...(virtualModels?.keys() ?? [])].filter((id) => askable(id, context).length > 0)
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
