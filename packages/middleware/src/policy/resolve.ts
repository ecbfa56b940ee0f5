import { closestName, listText } from './closest-name.ts'
import { unservedMoneyLimits } from './money.ts'
import { type Model, type Policy, PolicyError } from './policy.ts'
import { DEFAULT_MODEL, knowsModel, type ModelOptions, resolveModels, resolvePrices } from './resolve-models.ts'
import { resolvePlans } from './resolve-plans.ts'
import { resolveRoute } from './resolve-routes.ts'
import { type PolicyDocument, policySchema } from './schema.ts'
import { schemaFaults } from './schema-faults.ts'
import { unsupported } from './supported.ts'

export interface ResolveOptions extends ModelOptions {
  /** What the document came from, for error messages. */
  readonly source: string
}

/** A document that is still to be checked. */
export interface Document {
  readonly value: unknown
  /** What it came from, for error messages. */
  readonly source: string
  /** Whether it will decide over an app: then what could never be served is a fault too. */
  readonly isFile: boolean
  /** The line of a path, from 1, where the document was read from lines. */
  readonly lineOf?: (path: string) => number | undefined
}

/**
 * Checks a document and fills in the defaults; `{}` is the policy without a file.
 *
 * @throws PolicyError with the path and fix of every fault that can be told at once: first those of the form, then
 * those of the meaning. Nothing of a faulty document is used.
 */
export function resolvePolicy(document: unknown, options: ResolveOptions): Policy {
  return resolveDocument({ value: document, source: options.source, isFile: false }, options)
}

/** The same of a document that was read from a file. @throws PolicyError */
export function resolveDocument(document: Document, options: ModelOptions): Policy {
  const checked = check(document)
  const { plans, faults } = meaning(checked, document)
  const models = resolveModels(checked, options, faults)
  const generate = resolveRoute(checked.routes?.generate ?? {})
  throwIfFaulty(document, faults)
  return { ...plans, models, routes: { generate }, storeDown: checked.storeDown ?? 'closed' }
}

/** What a policy says by itself, for tools that run without the app's settings. */
export interface PolicyOutline extends Pick<Policy, 'plans' | 'defaultPlan' | 'global'> {
  /** The policy's own model behind `/generate`; `undefined` where that is the one of the `OPENAI_*` settings. */
  readonly generateModel: string | undefined
  /** The name by which that model is asked for at its server. */
  readonly generateServedAs: string | undefined
  /** The policy's own models, and the settings' where the route goes there. */
  readonly models: ReadonlyMap<string, Pick<Model, 'name' | 'price'>>
}

/** @throws PolicyError */
export function outline(document: unknown, source: string): PolicyOutline {
  return outlineDocument({ value: document, source, isFile: false })
}

/** @throws PolicyError */
export function outlineDocument(document: Document): PolicyOutline {
  const checked = check(document)
  const { plans, faults } = meaning(checked, document)
  throwIfFaulty(document, faults)
  const { model } = resolveRoute(checked.routes?.generate ?? {})
  const prices = resolvePrices(checked)
  const [target] = checked.models?.[model]?.targets ?? []
  return {
    ...plans,
    generateModel: target === undefined ? undefined : model,
    generateServedAs: target && ('azure' in target ? target.azure.deployment : target.openai.model),
    models: new Map([...Object.keys(checked.models ?? {}), model].map((name) => [name, { name, price: prices(name) }])),
  }
}

/** What can be told of a document by itself. */
function meaning(checked: PolicyDocument, { isFile }: Document) {
  const isModel = (name: string) => knowsModel(checked.models, name)
  const faults = unsupported(checked)
  const plans = resolvePlans(checked, isModel, faults)
  const model = checked.routes?.generate?.model
  if (model !== undefined && !isModel(model)) {
    faults.push(`routes.generate.model: there is no model '${model}' under models.`)
  }
  if (isFile) faults.push(...unservedMoneyLimits(checked))
  const known = [...Object.keys(checked.models ?? {}), DEFAULT_MODEL]
  return { plans, faults: faults.map((fault) => withKnownModels(fault, known)) }
}

/** A fault that names an unknown model says which models there are. */
function withKnownModels(fault: string, known: readonly string[]): string {
  const [, missing] = /: there is no model '([^']*)' under models\.$/.exec(fault) ?? []
  if (missing === undefined) return fault
  const meant = closestName(missing, known)
  return `${fault}${meant === undefined ? '' : ` Did you mean '${meant}'?`} There are: ${listText(new Set(known))}.`
}

/** More than these would make a start slow, and no person could say what holds. */
const MOST_NAMES = { plans: 10_000, models: 1_000 } as const
/** Faults that are put into words; the others are counted. */
const MOST_WORDED = 100

function check(document: Document): PolicyDocument {
  const { value, source } = document
  for (const [field, most] of Object.entries(MOST_NAMES)) {
    const entries = (value as Readonly<Record<string, unknown>> | null)?.[field]
    const count = typeof entries === 'object' && entries !== null ? Object.keys(entries).length : 0
    if (count > most) {
      const [has, may] = [count.toLocaleString('en-US'), most.toLocaleString('en-US')]
      throw new PolicyError(
        source,
        located(document, [`${field}: has ${has} entries, and may have ${may}. Remove some.`]),
      )
    }
  }
  const parsed = policySchema.safeParse(value)
  if (parsed.success) return parsed.data
  const { issues } = parsed.error
  const worded = schemaFaults(policySchema, issues.slice(0, MOST_WORDED), value)
  throw new PolicyError(source, located(document, worded), Math.max(0, issues.length - MOST_WORDED))
}

function throwIfFaulty(document: Document, faults: readonly string[]): void {
  if (faults.length > 0) throw new PolicyError(document.source, located(document, faults))
}

/** Each fault begins with its path, up to the first colon. */
function located({ lineOf }: Document, faults: readonly string[]): readonly string[] {
  if (lineOf === undefined) return faults
  return faults.map((fault) => {
    const line = lineOf(/^(?:\["(?:\\.|[^"\\])*"\]|[^:])*/.exec(fault)?.[0] ?? '')
    return line === undefined ? fault : `line ${line}, ${fault}`
  })
}
