import { DEFAULT_MODEL } from './resolve-models.ts'
import type { ModelDocuments, PolicyDocument } from './schema.ts'

/** Faults that a schema can't express, and what this version would not enforce: refused, never ignored. */
export function unsupported({ plans, models = {}, unpriced }: PolicyDocument): string[] {
  const faults: string[] = []
  if (plans !== undefined && Object.keys(plans).length === 0) {
    faults.push(
      'plans: there is none, so every request would be refused. Name one, or leave plans out for the default.',
    )
  }
  faults.push(...Object.entries(models).flatMap(([name, model]) => modelFaults(name, model)))
  if (unpriced === 'worst' && Object.values(models).every(({ price }) => price === undefined)) {
    faults.push("unpriced: 'worst' is the highest price of any model, and none has one. Give one a price.")
  }
  return faults
}

function modelFaults(name: string, { targets, price }: ModelDocuments[string]): string[] {
  const faults: string[] = []
  if (targets === undefined && name !== DEFAULT_MODEL) {
    faults.push(
      `models.${name}.targets: missing. Only '${DEFAULT_MODEL}' may go without: the OPENAI_* settings serve it.`,
    )
  }
  if (targets !== undefined && targets.length > 1) {
    faults.push(`models.${name}.targets: several targets are not used by this version yet. Keep one.`)
  }
  // A request is charged `input` for all of its prompt before the provider says what was cached.
  if (price?.cachedInput !== undefined && price.cachedInput > price.input) {
    faults.push(`models.${name}.price.cachedInput: must not be above input. Raise input or lower cachedInput.`)
  }
  return faults
}
