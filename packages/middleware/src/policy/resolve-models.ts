import type { Model, TargetSettings } from './policy.ts'
import { resolvePrice, worstPrice } from './price.ts'
import type { ModelDocuments, PolicyDocument } from './schema.ts'
import { type PolicyBounds, resolveTarget, TargetFault } from './target.ts'

/** The model that the `OPENAI_*` settings serve unless the policy says where. */
export const DEFAULT_MODEL = 'default'

export interface ModelOptions {
  readonly bounds: PolicyBounds
  /** The model of the `OPENAI_*` settings, served as `default`; `undefined` where none is configured. */
  readonly defaultTarget: TargetSettings | undefined
}

/** The models that are served somewhere; what is wrong with a target goes to `faults`, with its path. */
export function resolveModels(document: PolicyDocument, options: ModelOptions, faults: string[]): Map<string, Model> {
  const documents = document.models ?? {}
  const prices = new Map(
    Object.entries(documents).flatMap(([name, { price }]) => (price ? [[name, resolvePrice(price)] as const] : [])),
  )
  const unpriced = document.unpriced === 'worst' ? worstPrice([...prices.values()]) : undefined
  const models = new Map<string, Model>()
  for (const [name, target] of resolveTargets(documents, options, faults)) {
    const contextWindow = documents[name]?.contextWindow
    models.set(name, { name, target, price: prices.get(name) ?? unpriced, contextWindow })
  }
  return models
}

/** Whether callers, routes and limits may name a model: whether it is served depends on the app's settings too. */
export function knowsModel(documents: ModelDocuments | undefined, name: string): boolean {
  return name === DEFAULT_MODEL || (documents !== undefined && Object.hasOwn(documents, name))
}

function resolveTargets(
  documents: ModelDocuments,
  { bounds, defaultTarget }: ModelOptions,
  faults: string[],
): Map<string, TargetSettings> {
  const targets = new Map<string, TargetSettings>()
  if (defaultTarget !== undefined) targets.set(DEFAULT_MODEL, defaultTarget)
  for (const [name, model] of Object.entries(documents)) {
    for (const [index, target] of (model.targets ?? []).entries()) {
      try {
        targets.set(name, resolveTarget(target, bounds))
      } catch (fault) {
        if (!(fault instanceof TargetFault)) throw fault
        faults.push(`models.${name}.targets[${index}]: ${fault.message}`)
      }
    }
  }
  return targets
}
