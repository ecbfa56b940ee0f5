import type { Model, Price, TargetSettings } from './policy.ts'
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
  const priceOf = resolvePrices(document)
  const models = new Map<string, Model>()
  for (const [name, target] of resolveTargets(documents, options, faults)) {
    const contextWindow = documents[name]?.contextWindow
    models.set(name, { name, target, price: priceOf(name), contextWindow })
  }
  return models
}

/** A model's price: its own, or what `unpriced` says of those without one. */
export function resolvePrices({ models = {}, unpriced }: PolicyDocument): (name: string) => Price | undefined {
  const prices = new Map(
    Object.entries(models).flatMap(([name, { price }]) => (price ? [[name, resolvePrice(price)] as const] : [])),
  )
  const otherwise = unpriced === 'worst' ? worstPrice([...prices.values()]) : undefined
  return (name) => prices.get(name) ?? otherwise
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
