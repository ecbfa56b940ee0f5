import { type Policy, PolicyError } from './policy.ts'
import { knowsModel, type ModelOptions, resolveModels } from './resolve-models.ts'
import { resolvePlans } from './resolve-plans.ts'
import { resolveRoute } from './resolve-routes.ts'
import { type PolicyDocument, policySchema } from './schema.ts'
import { schemaFaults } from './schema-faults.ts'
import { unsupported } from './supported.ts'

export interface ResolveOptions extends ModelOptions {
  /** What the document came from, for error messages. */
  readonly source: string
}

/**
 * Checks a document and fills in the defaults; `{}` is the policy without a file.
 *
 * @throws PolicyError with the path and fix of every fault that can be told at once: first those of the form, then
 * those of the meaning. Nothing of a faulty document is used.
 */
export function resolvePolicy(document: unknown, options: ResolveOptions): Policy {
  const checked = parseDocument(document, options.source)
  const isModel = (name: string) => knowsModel(checked.models, name)
  const faults = unsupported(checked)
  const plans = resolvePlans(checked, isModel, faults)
  const models = resolveModels(checked, options, faults)
  const generate = resolveRoute(checked.routes?.generate ?? {})
  if (!isModel(generate.model)) {
    faults.push(`routes.generate.model: there is no model '${generate.model}' under models.`)
  }
  if (faults.length > 0) throw new PolicyError(options.source, faults)
  return { ...plans, models, routes: { generate }, storeDown: checked.storeDown ?? 'closed' }
}

/** What a policy says by itself, for tools that run without the app's settings. */
export interface PolicyOutline extends Pick<Policy, 'plans' | 'defaultPlan' | 'global'> {
  /** The policy's own model behind `/generate`; `undefined` where that is the one of the `OPENAI_*` settings. */
  readonly generateModel: string | undefined
}

/** @throws PolicyError */
export function outline(document: unknown, source: string): PolicyOutline {
  const checked = parseDocument(document, source)
  const faults = unsupported(checked)
  const plans = resolvePlans(checked, (name) => knowsModel(checked.models, name), faults)
  if (faults.length > 0) throw new PolicyError(source, faults)
  const { model } = resolveRoute(checked.routes?.generate ?? {})
  return { ...plans, generateModel: checked.models?.[model]?.targets === undefined ? undefined : model }
}

function parseDocument(document: unknown, source: string): PolicyDocument {
  const parsed = policySchema.safeParse(document)
  if (!parsed.success) throw new PolicyError(source, parsed.error.issues.flatMap(schemaFaults))
  return parsed.data
}
